package flows

import (
	"cmp"
	"slices"
	"strings"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Table is what connection tracking said of flows. It is fed like a correlator and
// not safe for concurrent use.
type Table struct {
	topology *netinfo.Topology
	rulesets map[netns.ID]*netfilter.Ruleset
	living   map[key]*Entry
	// Keep keeps the flows that have ended, too.
	Keep  bool
	ended []*Entry
	was   nameSet // in earlier topologies, with Keep
}

// key identifies a flow while it lives; see netfilter.Flow.ID.
type key struct {
	namespace netns.ID
	id        uint32
	original  packet.Tuple
}

// Change is one change of the table, with the flow as it is, or was at last.
type Change struct {
	Kind  netfilter.EventKind
	Time  int64 // when at the latest, nanoseconds since the Unix epoch
	Entry *Entry
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		topology: (&netinfo.Topology{}).Seal(), rulesets: map[netns.ID]*netfilter.Ruleset{}, living: map[key]*Entry{}, was: newNameSet(),
	}
}

// SetTopology replaces what is known of the host.
func (t *Table) SetTopology(topology *netinfo.Topology) {
	if t.Keep {
		t.was.add(t.topology)
	}
	t.topology = topology
}

// Topology is the host as it was set last.
func (t *Table) Topology() *netinfo.Topology { return t.topology }

// SetRuleset replaces what is known of one namespace's rules. Flows that are in the
// table keep the rule that was found for them: rules are asked for a flow's first
// packet only.
func (t *Table) SetRuleset(r *netfilter.Ruleset) { t.rulesets[r.Namespace] = r }

// AddFlows takes in what connection tracking said, and returns what is new.
func (t *Table) AddFlows(b *netfilter.Batch) (changes []Change) {
	for i := range b.Events {
		e := &b.Events[i]
		k := key{b.Namespace, e.Flow.ID, e.Flow.Original}
		old := t.living[k]
		if e.Kind == netfilter.Destroy {
			changes = append(changes, Change{netfilter.Destroy, e.Before, t.end(k, t.entry(e, old), e.Before)})
			continue
		}
		made := t.entry(e, old)
		kind := e.Kind
		switch {
		case old == nil && kind == netfilter.Update:
			kind = netfilter.Known
		case old != nil && kind != netfilter.Update && !same(&old.Flow, &made.Flow):
			kind = netfilter.Update // a dump tells what no event told
		case old != nil && kind == netfilter.Known:
			t.living[k] = made
			continue
		}
		t.living[k] = made
		changes = append(changes, Change{kind, e.Before, made})
	}
	if b.Synced {
		for k, e := range t.living {
			if k.namespace == b.Namespace && e.named < b.SyncedSince {
				changes = append(changes, Change{netfilter.Destroy, b.Through, t.end(k, e, b.Through)})
			}
		}
	}
	return changes
}

// entry is a flow as an event tells it.
func (t *Table) entry(e *netfilter.Event, old *Entry) *Entry {
	made := &Entry{Flow: e.Flow, Seen: e.Before, Born: e.Flow.Start, named: e.Before}
	if e.Kind == netfilter.New && made.Born == 0 {
		made.Born = e.Before
	}
	if old != nil && old.Reply == e.Flow.Reply {
		made.Seen, made.Journey, made.Proxy, made.owners = old.Seen, old.Journey, old.Proxy, old.owners
		if made.Born == 0 {
			made.Born = old.Born
		}
		if e.Kind == netfilter.Destroy {
			// The last message has no state any more.
			made.TCPState = cmp.Or(made.TCPState, old.TCPState)
		}
		return t.renamed(made)
	}
	t.describe(made)
	return made
}

func (t *Table) end(k key, e *Entry, at int64) *Entry {
	gone := *e
	gone.Ended = at
	delete(t.living, k)
	if t.Keep {
		t.ended = append(t.ended, &gone)
	}
	return &gone
}

// same reports whether two are the same but for what changes all the time.
func same(a, b *netfilter.Flow) bool {
	x, y := *a, *b
	x.Timeout, x.Packets, x.Bytes = y.Timeout, y.Packets, y.Bytes
	return x == y
}

// Entries returns the flows: natlens's own namespace first, then by who began them,
// where to, and when.
func (t *Table) Entries() []*Entry {
	all := make([]*Entry, 0, len(t.ended)+len(t.living))
	for _, e := range t.ended {
		all = append(all, t.renamed(e))
	}
	for _, e := range t.living {
		all = append(all, t.renamed(e))
	}
	place := func(e *Entry) string {
		if e.Namespace == t.topology.Self {
			return ""
		}
		return t.topology.NamespaceName(e.Namespace)
	}
	slices.SortFunc(all, func(a, b *Entry) int {
		return cmp.Or(
			strings.Compare(place(a), place(b)),
			strings.Compare(a.Journey.From.Name, b.Journey.From.Name),
			a.Original.Source().Compare(b.Original.Source()),
			a.Original.Destination().Compare(b.Original.Destination()),
			cmp.Compare(a.Original.Protocol, b.Original.Protocol),
			cmp.Compare(a.Original.DestinationPort, b.Original.DestinationPort),
			cmp.Compare(a.Original.SourcePort, b.Original.SourcePort),
			cmp.Compare(a.Seen, b.Seen),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return all
}
