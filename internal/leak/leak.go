// Package leak shows, in tests, that nothing was left behind: neither in the
// test's own process nor on the host nor in processes that it started.
//
// Everything here looks at the whole process or namespace, so a test that uses
// it must not run in parallel with others.
package leak

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// grace is how long things may take to go away after a test: the kernel frees
// rings and namespaces in the background, and threads end after their
// goroutine.
const grace = 10 * time.Second

// inventory is what exists at one moment: one line for each thing, in words
// that a person can follow up. The key identifies the thing.
type inventory map[string]string

// more returns what is in after and not in before, sorted.
func more(before, after inventory) []string {
	var added []string
	for key, line := range after {
		if _, ok := before[key]; !ok {
			added = append(added, line)
		}
	}
	slices.Sort(added)
	return added
}

// compareAtEnd takes an inventory now and another when the test and what it
// registered later has been cleaned up. The test fails if there is more then.
func compareAtEnd(t testing.TB, take func() (inventory, error)) {
	t.Helper()
	before, err := take()
	if err != nil {
		t.Fatalf("take inventory: %v", err)
	}
	t.Cleanup(func() {
		var left []string
		for deadline := time.Now().Add(grace); ; time.Sleep(20 * time.Millisecond) {
			after, err := take()
			if err != nil {
				t.Errorf("take inventory: %v", err)
				return
			}
			if left = more(before, after); len(left) == 0 {
				return
			}
			if time.Now().After(deadline) {
				break
			}
		}
		t.Errorf("left behind:\n  %s", strings.Join(left, "\n  "))
	})
}
