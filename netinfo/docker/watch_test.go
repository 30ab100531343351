package docker

import (
	"context"
	"errors"
	"testing"
	"time"
)

// patience bounds the wait for something that must come.
const patience = 20 * time.Second

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestWatch(t *testing.T) {
	e := newFakeEngine(t)
	e.addBridged(id("a"), "a", "172.17.0.2", "02:42:ac:11:00:02", 1)
	c := open(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	notified := make(chan struct{}, 64)
	done := make(chan error, 1)
	go func() { done <- c.Watch(ctx, func() { notified <- struct{}{} }) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-notified:
		case <-time.After(patience):
			t.Fatalf("not notified of %s", what)
		}
	}
	pid := func() int {
		t.Helper()
		inv, err := c.Inventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return inv.Containers[0].PID
	}

	await("the begin")
	eventually(t, "a stream", func() bool { return e.listeners() == 1 })
	if got := pid(); got != 1 {
		t.Fatalf("pid %d, want 1", got)
	}
	// A restart changes what was remembered.
	e.mu.Lock()
	e.inspections[id("a")]["State"] = map[string]any{"Running": true, "Pid": 2}
	e.mu.Unlock()
	if got := pid(); got != 1 {
		t.Fatalf("pid %d without an event, want the remembered 1", got)
	}
	e.emit("container", "exec_start: sh", id("a"), nil) // does not matter
	e.emit("container", "start", id("a"), nil)
	await("a start")
	if got := pid(); got != 2 {
		t.Errorf("pid %d after a start, want 2", got)
	}
	e.mu.Lock()
	e.inspections[id("a")]["State"] = map[string]any{"Running": true, "Pid": 3}
	e.mu.Unlock()
	e.emit("network", "connect", id("e"), map[string]string{"container": id("a")})
	await("a connect")
	if got := pid(); got != 3 {
		t.Errorf("pid %d after a connect, want 3", got)
	}
	if len(notified) != 0 {
		t.Errorf("%d notifications too many", len(notified))
	}

	e.stop()
	await("an engine that went away")
	e.start()
	eventually(t, "a stream after the restart", func() bool { return e.listeners() == 1 })
	e.emit("network", "create", id("e"), nil)
	await("the return")

	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v, want canceled", err)
	}
}
