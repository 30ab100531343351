package live

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

// programVariable makes the test binary a program that watches the namespace
// it stands in until its input ends, for tests of what a process suffers. Its
// value is a Config in JSON.
const programVariable = "LIVE_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programVariable) != "" {
		if err := program(); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// Fuzzing needs no lab, and its workers talk by descriptors that a lab does
	// not hand on.
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	os.Exit(labtest.Main(m))
}

// program prints "watching" and what is left out, a line for each journey (its
// verdict and its path), and the summary.
func program() error {
	var c Config
	if err := json.Unmarshal([]byte(os.Getenv(programVariable)), &c); err != nil {
		return err
	}
	c.Host.NoEngine = true
	s, err := Open(context.Background(), c)
	if err != nil {
		return err
	}
	for _, l := range s.Watching().LeftOut {
		fmt.Printf("left out %s: %s\n", l.Name, l.Reason)
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
			fmt.Println(r.Journey.Verdict.Result, pathOf(r.Journey)+":", r.Journey.Verdict.Reason)
		}
	}
	n := s.Summary()
	fmt.Printf("summary: %d lost by rings\n", n.RingDrops)
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
