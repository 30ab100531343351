package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// Names come with events, before a container runs and after it has ended; those of
// the newest events are kept.
func TestNamed(t *testing.T) {
	e := newFakeEngine(t)
	c := open(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, func() {}) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
	}()
	eventually(t, "a stream", func() bool { return e.listeners() == 1 })
	attributes := func(name string) map[string]string { return map[string]string{"name": name, "image": "box"} }
	e.emit("container", "create", id("a"), attributes("a"))
	e.emit("container", "create", id("b"), attributes("b"))
	e.emit("container", "rename", id("a"), attributes("renamed"))
	e.emit("container", "destroy", id("b"), attributes("b"))
	e.emit("network", "connect", id("c"), map[string]string{"name": "back_net"})
	e.emit("container", "create", id("d"), attributes("d"))
	eventually(t, "the last one", func() bool { n := c.Named(); return len(n) > 0 && n[len(n)-1].Name == "d" })
	want := []Named{{id("a"), "renamed", "box"}, {id("b"), "b", "box"}, {id("d"), "d", "box"}}
	if got := c.Named(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for n := range 2 * maxNamed {
		e.emit("container", "start", fmt.Sprintf("%064x", n), attributes("many"))
	}
	last := fmt.Sprintf("%064x", 2*maxNamed-1)
	eventually(t, "the last of many", func() bool { n := c.Named(); return n[len(n)-1].ID == last })
	if n := len(c.Named()); n != maxNamed {
		t.Errorf("%d are remembered", n)
	}
}
