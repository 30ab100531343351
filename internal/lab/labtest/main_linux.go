// Package labtest runs the tests of a package inside a lab.
package labtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"natlens/internal/lab"
)

// forbidden is why the tests of this process run outside a lab.
var forbidden error

// Main is a whole TestMain: it runs the tests of the package inside private
// namespaces, made by lab.Run, and returns the exit status for os.Exit. Where
// they are forbidden it runs the tests as they are; those that call Need are
// skipped then.
func Main(m *testing.M) int {
	if !lab.Inside() {
		status, err := lab.Run(context.Background(), os.Args[1:]...)
		switch {
		case errors.Is(err, lab.ErrForbidden):
			forbidden = err
			return m.Run()
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return status
	}
	if lab.Enter() != nil {
		return 1 // the parent says why
	}
	return m.Run()
}

// Need skips a test that needs private namespaces where there are none. The
// package's TestMain must call Main.
func Need(tb testing.TB) {
	tb.Helper()
	if forbidden != nil {
		tb.Skipf("needs a lab: %v", forbidden)
	}
	if !lab.Inside() {
		tb.Fatal("this package's TestMain does not call labtest.Main")
	}
}

// NewHost builds a host for a test, which is taken down when the test ends.
func NewHost(tb testing.TB) *lab.Host {
	tb.Helper()
	Need(tb)
	h, err := lab.New()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h
}
