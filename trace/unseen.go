package trace

import (
	"fmt"
	"slices"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// showUnseen shows the journey of a packet that no tap saw: the rules met it when
// it began, and let go of it, or something behind them did. It has no hops.
func (c *Correlator) showUnseen(w *walk) {
	c.lastID++
	w.owner = c.lastID
	h := &w.packet.Headers
	c.counters.Journeys++
	c.counters.Traced++
	if c.sink.Journey == nil {
		return
	}
	space := c.hosts.space(w.namespace)
	j := &Journey{
		ID: w.owner, Time: w.before, Protocol: h.Tuple.Protocol, Direction: NoDirection, Topology: c.hosts.topology,
		LinkType: packet.RawIP, Data: slices.Clone(w.packet.Data),
	}
	j.From = endpoint(h.Tuple.Source(), h.Tuple.SourcePort, h.Tuple)
	j.From.own(space)
	to := h.Tuple
	r := c.flowIn(w.namespace, h, w.before, c.zonesOfWalk(w))
	if r.flow != nil {
		j.Direction = Original
		if r.reply {
			j.Direction = Reply
		}
		if !r.flow.inferred {
			j.Flows = []netfilter.Flow{r.flow.Flow}
		}
		if !r.about {
			to = r.flow.direction(r.reply).after
		}
	}
	j.To = endpoint(to.Destination(), to.DestinationPort, to)
	c.name(&j.To, w.namespace, w.before)
	s := stay{first: 0, last: -1, in: -1, out: -1}
	j.Rules = c.tell(j, w, &s, nil)
	j.Verdict = c.unseenVerdict(w, j.Rules)
	c.sink.Journey(j)
}

func (c *Correlator) unseenVerdict(w *walk, met []Rule) Verdict {
	if c.ended(w) {
		return droppedBy(met)
	}
	v := Verdict{Result: Vanished, Hop: -1, Evidence: ByTrace,
		Reason: "no tap saw it, though the rules let it pass: no answer from the next hop's address resolution, or a drop behind the rules"}
	switch lost, lostHits := c.lostRing.since(w.after), c.walks.lost.since(w.after); {
	case lost > 0:
		v.Result, v.Reason = Unfinished, fmt.Sprintf("unknown: ring lost %d", lost)
	case lostHits > 0:
		v.Result, v.Reason = Unfinished, fmt.Sprintf("unknown: the trace lost %d messages", lostHits)
	case c.mayBeCut(w):
		v.Result, v.Reason = Unfinished, "unknown: the trace paused before it may have told all"
	}
	return v
}
