package live

import (
	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// feed takes what a Session learns, in the order in which it learns it: a
// trace.Correlator, or a record.Tape that stands before one.
type feed interface {
	SetTopology(*netinfo.Topology)
	SetRuleset(*netfilter.Ruleset)
	Watch(ns netns.ID, since int64)
	Forget(ns netns.ID, until int64)
	AwaitFlows()
	AddFlows(*netfilter.Batch)
	AddSocket(trace.Socket)
	AddCounts(netfilter.Counts)
	AwaitHits()
	AddHits(*netfilter.HitBatch)
	Observe(*capture.Batch)
	Interrupt(reason string)
	Flush()
}
