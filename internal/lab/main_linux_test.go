package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

// programVariable makes the test binary a program that uses a lab, for the
// tests of Run. They themselves run in a lab, so that what a program leaves
// behind is seen in a place where nothing else happens.
const programVariable = "LAB_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if name := os.Getenv(programVariable); name != "" {
		os.Exit(program(name))
	}
	os.Exit(labtest.Main(m))
}

const (
	statusForbidden = 3
	statusChosen    = 7
	statusBroken    = 99
)

func program(name string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if !lab.Inside() {
		status, err := lab.Run(ctx, os.Args[1:]...)
		if errors.Is(err, lab.ErrForbidden) {
			fmt.Println(err)
			return statusForbidden
		}
		if err != nil {
			fmt.Println(err)
			return statusBroken
		}
		return status
	}
	if err := lab.Enter(); err != nil {
		return statusBroken
	}
	switch name {
	case "exit":
		fmt.Println("inside")
		return statusChosen
	case "wait":
		fmt.Println("waiting")
		<-ctx.Done()
		fmt.Println("interrupted")
		return statusChosen
	case "play":
		return play(ctx)
	}
	return statusBroken
}

// play leaves without Close, as a program does that crashes.
func play(ctx context.Context) int {
	h, err := lab.New()
	if err != nil {
		fmt.Println(err)
		return statusBroken
	}
	s := lab.Scenarios()[0]
	if err := s.Build(h); err != nil {
		fmt.Println(err)
		return statusBroken
	}
	if err := s.Play(ctx, h); err != nil {
		fmt.Println(err)
		return statusBroken
	}
	fmt.Println("played")
	return 0
}
