package live

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
	"natlens/netinfo"
)

// programVariable makes the test binary a program that watches the namespace
// it stands in until its input ends, for tests of what a process suffers.
const programVariable = "LIVE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		if err := program(); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(labtest.Main(m))
}

// program prints "watching", then a line for each journey: its verdict and its
// path.
func program() error {
	s, err := Open(context.Background(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		return err
	}
	fmt.Println("watching", s.Watching().Names)
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	records := make(chan Record, 1<<12)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, records) }()
	for r := range records {
		if r.Journey != nil {
			fmt.Println(r.Journey.Verdict.Result, pathOf(r.Journey))
		}
	}
	return <-ended
}

// dockerHost builds the host of the first scenario, with nothing sent yet.
func dockerHost(t *testing.T) *lab.Host {
	t.Helper()
	h := labtest.NewHost(t)
	if err := lab.Scenarios()[0].Build(h); err != nil {
		t.Fatal(err)
	}
	return h
}
