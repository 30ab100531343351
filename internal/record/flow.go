package record

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// flows is a netfilter.Batch.
type flows struct {
	Again          bool `json:",omitempty"`
	Namespace      netns.ID
	Through        int64
	Events         []event `json:",omitempty"`
	Overruns, Lost uint64  `json:",omitempty"`
	Malformed      uint64  `json:",omitempty"`
	// Silent: the kernel tells no events of flows that begin here; absent: as
	// before.
	Silent   *bool               `json:",omitempty"`
	Failures *netfilter.Failures `json:",omitempty"`
}

type event struct {
	Kind          string // as netfilter.EventKind has it
	After, Before int64
	Flow          flow
}

// flow shadows what has no JSON of its own.
type flow struct {
	netfilter.Flow
	Original, Reply tuple
	// ReplyZone stands where there is a zone. Files were written without it: then Zone
	// counts for both directions.
	ReplyZone *uint16 `json:",omitempty"`
}

type tuple struct {
	Protocol                    packet.Protocol
	Source, Destination         netip.Addr
	SourcePort, DestinationPort uint16 `json:",omitempty"` // as packet.Tuple has them
}

func tupleOf(t packet.Tuple) tuple {
	return tuple{t.Protocol, t.Source(), t.Destination(), t.SourcePort, t.DestinationPort}
}

var errTuple = errors.New("a flow whose addresses are not of one family")

func (t tuple) tuple() (packet.Tuple, error) {
	if !t.Source.IsValid() || !t.Destination.IsValid() || t.Source.Is4() != t.Destination.Is4() {
		return packet.Tuple{}, errTuple
	}
	return packet.NewTuple(t.Protocol, t.Source, t.Destination, t.SourcePort, t.DestinationPort), nil
}

func eventOf(e *netfilter.Event) event {
	out := event{
		Kind: e.Kind.String(), After: e.After, Before: e.Before,
		Flow: flow{Flow: e.Flow, Original: tupleOf(e.Flow.Original), Reply: tupleOf(e.Flow.Reply)},
	}
	if e.Flow.Zones() != (netfilter.Zones{}) {
		out.Flow.ReplyZone = &e.Flow.ReplyZone
	}
	return out
}

var eventKinds = map[string]netfilter.EventKind{
	"KNOWN": netfilter.Known, "NEW": netfilter.New, "UPDATE": netfilter.Update, "DESTROY": netfilter.Destroy,
}

// batch is the reverse of what a Tape writes.
func (f *flows) batch() (*netfilter.Batch, error) {
	b := &netfilter.Batch{Namespace: f.Namespace, Through: f.Through, Overruns: f.Overruns, Lost: f.Lost, Malformed: f.Malformed, Failures: f.Failures}
	if f.Silent != nil {
		// A dump from the beginning of time on ends no flow.
		b.Silent, b.Synced = *f.Silent, true
	}
	for i := range f.Events {
		e := &f.Events[i]
		kind, ok := eventKinds[e.Kind]
		if !ok {
			continue // of a later version
		}
		made := netfilter.Event{Kind: kind, After: e.After, Before: e.Before, Flow: e.Flow.Flow}
		made.Flow.Namespace = f.Namespace
		if made.Flow.ReplyZone = made.Flow.Zone; e.Flow.ReplyZone != nil {
			made.Flow.ReplyZone = *e.Flow.ReplyZone
		}
		var errs [2]error
		made.Flow.Original, errs[0] = e.Flow.Original.tuple()
		made.Flow.Reply, errs[1] = e.Flow.Reply.tuple()
		if err := errors.Join(errs[0], errs[1]); err != nil {
			return nil, err
		}
		b.Events = append(b.Events, made)
	}
	return b, nil
}

// flowKey identifies a flow on the host.
type flowKey struct {
	namespace netns.ID
	id        uint32
	original  packet.Tuple
}

// flowTable is what the files say of the flows that live. It keeps redumps from
// being written, which say the same again every few seconds.
type flowTable map[flowKey]*netfilter.Event

// news returns those events of a batch that say something new. What a dump found
// gone becomes an event like any other.
func (t flowTable) news(b *netfilter.Batch) []event {
	var out []event
	for i := range b.Events {
		e := &b.Events[i]
		key := flowKey{b.Namespace, e.Flow.ID, e.Flow.Original}
		old := t[key]
		if e.Kind == netfilter.Destroy {
			delete(t, key)
			out = append(out, eventOf(e))
			continue
		}
		kept := *e
		if old != nil {
			kept.Flow.Complete(&old.Flow)
		}
		t[key] = &kept
		if old == nil || e.Kind != netfilter.Known || !sameFlow(old.Flow, kept.Flow) {
			out = append(out, eventOf(e))
		}
	}
	if !b.Synced {
		return out
	}
	for key, e := range t {
		if key.namespace == b.Namespace && e.Before < b.SyncedSince {
			gone := netfilter.Event{Kind: netfilter.Destroy, After: e.Before, Before: b.Through, Flow: e.Flow}
			out = append(out, eventOf(&gone))
			delete(t, key)
		}
	}
	return out
}

// againAtOnce is how many flows stand in a block that repeats them.
const againAtOnce = 256

// again tells of the flows anew, those of one namespace many at once, in the order in
// which they came.
func (t flowTable) again(yield func(flows)) {
	spaces := map[netns.ID][]*netfilter.Event{}
	for key, e := range t {
		spaces[key.namespace] = append(spaces[key.namespace], e)
	}
	for _, ns := range slices.Sorted(maps.Keys(spaces)) {
		all := spaces[ns]
		slices.SortFunc(all, func(a, b *netfilter.Event) int {
			return cmp.Or(cmp.Compare(a.Before, b.Before), cmp.Compare(a.Flow.ID, b.Flow.ID))
		})
		for some := range slices.Chunk(all, againAtOnce) {
			f := flows{Again: true, Namespace: ns, Through: some[len(some)-1].Before}
			for _, e := range some {
				told := *e
				told.Kind = netfilter.Known
				f.Events = append(f.Events, eventOf(&told))
			}
			yield(f)
		}
	}
}

// sameFlow reports whether two are the same but for what changes all the time.
func sameFlow(a, b netfilter.Flow) bool {
	a.Timeout, a.Packets, a.Bytes = b.Timeout, b.Packets, b.Bytes
	return a == b
}
