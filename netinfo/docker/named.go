package docker

import (
	"slices"

	"github.com/moby/moby/api/types/events"
)

// Named is a container that an event was about. Before the engine lists it as running
// its namespace is there already, and its first packets can be, too; its last ones
// are judged when it is not listed any more.
type Named struct{ ID, Name, Image string }

// maxNamed bounds those that are remembered: those of the last events.
const maxNamed = 256

// Named returns the containers of which Watch heard last, whether they run or not.
func (c *Client) Named() []Named {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.named)
}

// rename takes in which container an event is about.
func (c *Client) rename(m events.Message) {
	is := Named{m.Actor.ID, m.Actor.Attributes["name"], m.Actor.Attributes["image"]}
	if m.Type != events.ContainerEventType || is.Name == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named = slices.DeleteFunc(c.named, func(k Named) bool { return k.ID == is.ID })
	if len(c.named) >= maxNamed {
		c.named = slices.Delete(c.named, 0, 1)
	}
	c.named = append(c.named, is)
}
