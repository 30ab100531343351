// Package flows is the table of connection tracking as people ask for it: who
// talks to whom, what the flow is outside, which rule made it so.
package flows

import (
	"net/netip"
	"time"

	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Entry is a flow and what is known of it. It is immutable; a change makes a new
// one.
type Entry struct {
	netfilter.Flow
	// Seen is when it was first heard of, and Born when it began, in nanoseconds
	// since the Unix epoch; Born is 0 where nobody knows. Ended is when it was
	// gone; 0 while it lives.
	Seen, Born, Ended int64
	named             int64       // when an event last named it
	owners            [2]netns.ID // of its ends; 0: nobody here, or not known yet
	// Proxy says that a docker-proxy is at one of its ends; nil for most.
	Proxy *Proxy
	// Journey is the flow as a journey of its original direction that no tap saw:
	// From, To, Translations, Rules, Flows and Topology are set.
	Journey *trace.Journey
}

// Proxy is a docker-proxy that a flow goes to or, as far as can be told, comes from.
type Proxy struct {
	PID int
	// Dials: the flow is the proxy's own to the container. A program of the host
	// that calls the container by its address looks the same. Else it is one that
	// the proxy accepted.
	Dials bool
	// Other is where the proxy leads to; with Dials, where it listens.
	Other netip.AddrPort
	Name  string // of the container behind it; may be empty
}

// Translated reports whether the flow is translated.
func (e *Entry) Translated() bool { return len(e.Journey.Translations) > 0 }

// Age is how long the flow has lived at a time, or did live; exact is false when it
// is only known that it was no shorter.
func (e *Entry) Age(now int64) (age time.Duration, exact bool) {
	begin := e.Born
	if begin == 0 {
		begin = e.Seen
	}
	if e.Ended != 0 {
		now = e.Ended
	}
	return time.Duration(max(now-begin, 0)), e.Born != 0
}
