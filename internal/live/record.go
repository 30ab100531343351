// Package live watches a running host: it puts rings, connection tracking,
// rules and the host's topology together and feeds them to a correlator.
package live

import (
	"time"

	"natlens/netinfo"
	"natlens/trace"
)

// Record is one thing that was found: exactly one of the first four is set.
type Record struct {
	Journey *trace.Journey
	ARP     *trace.ARP
	Change  *netinfo.Change
	// Warning is a sentence about what the watch can't see, or no longer.
	Warning string
	At      time.Time // of a Change or Warning: when it was noticed
}

// Summary is the account that a watch gives at its end.
type Summary struct {
	trace.Counters
	Duration time.Duration
}
