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
	retry := firstRetry
	for {
		stream, cancel := context.WithCancel(ctx)
		// The library hands over the result when the engine has answered with
		// headers or with an error: from then on no event is missed.
		result := c.api.Events(stream, client.EventsListOptions{
			Filters: make(client.Filters).Add("type", string(events.ContainerEventType), string(events.NetworkEventType)),
		})
		// What was remembered may be stale: events were missed until now.
		c.forget("")
		notify()
		for alive := true; alive; {
			select {
			case m := <-result.Messages:
				retry = firstRetry
				if c.absorb(m) {
					notify()
				}
			case _ = <-result.Err:
				// Whatever it was, the way back is the same.
				alive = false
			}
		}
		cancel()
		c.forget("")
		notify()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retry):
		}
		retry = min(2*retry, lastRetry)
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
