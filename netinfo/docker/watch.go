package docker

import (
	"context"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Waits between attempts to reach an engine that went away.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 3 * time.Second
)

// Watch calls notify whenever the engine reports that a container or a network
// changed, and when the engine goes away or comes back; then a new Inventory
// is due. It returns when ctx ends, with ctx's error, and never because of the
// engine. notify is called from Watch's goroutine and must not block.
func (c *Client) Watch(ctx context.Context, notify func()) error {
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		heard, err := c.follow(ctx, notify)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			retry = firstRetry
		}
		// What was remembered may be stale: events are missed from now on.
		c.forget("")
		if err != nil {
			notify()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
	}
}

// follow reads one stream of events to its end, and reports whether it heard
// anything and what ended it.
func (c *Client) follow(ctx context.Context, notify func()) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The library hands over the result when the engine has answered with
	// headers or with an error: from then on no event is missed.
	result := c.api.Events(ctx, client.EventsListOptions{
		Filters: make(client.Filters).Add("type", string(events.ContainerEventType), string(events.NetworkEventType)),
	})
	c.forget("")
	notify()
	for {
		select {
		case m := <-result.Messages:
			heard = true
			c.rename(m)
			if c.absorb(m) {
				notify()
			}
		case err := <-result.Err:
			return heard, err
		}
	}
}

// absorb forgets what an event made stale and reports whether it matters.
func (c *Client) absorb(m events.Message) bool {
	switch m.Type {
	case events.ContainerEventType:
		switch m.Action {
		case events.ActionStart, events.ActionDie, events.ActionStop, events.ActionKill, events.ActionRestart,
			events.ActionDestroy, events.ActionRename, events.ActionUpdate, events.ActionRemove,
			events.ActionPause, events.ActionUnPause, "died", "cleanup", "init":
			c.forget(m.Actor.ID)
			return true
		}
	case events.NetworkEventType:
		switch m.Action {
		case events.ActionConnect, events.ActionDisconnect:
			if id := m.Actor.Attributes["container"]; id != "" {
				c.forget(id)
			} else {
				c.forget("")
			}
			return true
		case events.ActionCreate, events.ActionDestroy, events.ActionRemove, events.ActionUpdate:
			return true
		}
	}
	return false
}
