package lab

import (
	"context"
	"fmt"
)

// Scenario is a small story about one thing that a host does to packets. Build
// makes the host complete, servers included, without sending anything; then the
// steps are gone through in their order, an observer watching where they say so.
// Each is played once, on a Host fresh from New.
type Scenario struct {
	Name  string // one word, for a command line
	Title string // one line
	// Setting is what is there before the first step, in a sentence or two.
	Setting string
	Build   func(*Host) error
	Steps   []Step
	// Sentences say what happened, to somebody who saw the steps.
	Sentences []string
}

// Step is one thing that a learner does: a command of natlens, with what happens
// while it runs, or only something that happens.
type Step struct {
	// Says is why, in a sentence; may be empty.
	Says string
	// Natlens are the words behind natlens on a command line; none when nobody
	// looks. The command ends after the last act, if not by itself before.
	Natlens []string
	Acts    []Act
}

// Act is one thing that happens.
type Act struct {
	// Typed is the command that does on a Docker host what Do does here.
	Typed string
	Do    func(context.Context, *Host) error
	// Shown is how many journeys and events the observer then shows, for whoever
	// has to wait for them before the next act. What is shown only when the
	// watch ends does not count.
	Shown int
}

// Scenarios are all there are, in the order of a course; the first is the one to
// start with.
func Scenarios() []Scenario {
	return []Scenario{masquerade, hostLinks, none, hostNetwork, bridge, ports, custom, networks, addresses, database, internal, macvlan}
}

// Play goes through the steps without an observer's commands.
func (s Scenario) Play(ctx context.Context, h *Host) error {
	for _, step := range s.Steps {
		for _, act := range step.Acts {
			if err := act.Do(ctx, h); err != nil {
				return fmt.Errorf("%s: %w", act.Typed, err)
			}
		}
	}
	return nil
}
