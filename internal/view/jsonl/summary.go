package jsonl

import (
	"time"

	"natlens/trace"
)

type summary struct {
	header
	Observations  uint64  `json:"observations"`
	Journeys      uint64  `json:"journeys"`
	Hops          uint64  `json:"hops"`
	RingDrops     uint64  `json:"ring_drops"`
	ConntrackLost uint64  `json:"conntrack_lost"`
	QueueDrops    uint64  `json:"queue_drops"`
	Evicted       uint64  `json:"evicted"`
	Unpaired      uint64  `json:"unpaired"`
	Ambiguous     uint64  `json:"ambiguous"`
	Malformed     uint64  `json:"malformed"`
	Cut           uint64  `json:"cut,omitempty"`
	Undecoded     uint64  `json:"conntrack_malformed"`
	Ignored       uint64  `json:"ignored"`
	Traced        uint64  `json:"traced"`
	TraceLost     uint64  `json:"trace_lost"`
	TracePaused   float64 `json:"trace_paused,omitempty"`
	Hidden        uint64  `json:"hidden"`
	Duration      float64 `json:"duration"`
}

// Summary writes what a run of the given duration has done and lost, kind
// "summary". hidden counts the journeys that were not written because they are
// the user's own connection to this host or natlens's to the engine.
func Summary(c trace.Counters, hidden uint64, d time.Duration) ([]byte, error) {
	return line(summary{
		header: kind("summary"), Observations: c.Observations, Journeys: c.Journeys, Hops: c.Hops,
		RingDrops: c.RingDrops, ConntrackLost: c.ConntrackLost, QueueDrops: c.QueueDrops, Evicted: c.Evicted,
		Unpaired: c.Unpaired, Ambiguous: c.Ambiguous, Malformed: c.Malformed, Cut: c.Cut, Undecoded: c.Undecoded, Ignored: c.Ignored, Traced: c.Traced, TraceLost: c.TraceLost, TracePaused: c.TracePaused.Seconds(),
		Hidden: hidden, Duration: d.Seconds(),
	})
}
