package probe

import (
	"slices"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Journeys gathers those of one probe: its packets, under way there and back.
// It is not safe for concurrent use.
type Journeys struct {
	// Tuple is what the packet carried when it left its socket, in the
	// namespace From.
	Tuple packet.Tuple
	From  netns.ID

	There []*trace.Journey // oldest first; a later record replaces what it supersedes
	Back  []*trace.Journey // answers and errors about it
	ids   map[uint64]bool
	flows map[flowKey]bool
}

// flowKey identifies a conntrack entry on this host.
type flowKey struct {
	namespace netns.ID
	original  packet.Tuple
}

// Add takes a journey and reports whether it is one of the probe's.
func (p *Journeys) Add(j *trace.Journey) bool {
	there, back := p.concerns(j)
	if !there && !back {
		return false
	}
	if p.ids == nil {
		p.ids, p.flows = map[uint64]bool{}, map[flowKey]bool{}
	}
	p.ids[j.ID] = true
	for i := range j.Flows {
		p.flows[flowKey{j.Flows[i].Namespace, j.Flows[i].Original}] = true
	}
	way := &p.Back
	if there {
		way = &p.There
	}
	if i := slices.IndexFunc(*way, func(old *trace.Journey) bool { return j.Supersedes != 0 && old.ID == j.Supersedes }); i >= 0 {
		(*way)[i] = j
		return true
	}
	*way = append(*way, j)
	return true
}

// concerns says whether a journey is that of the probe's own packet, or of one
// that came of it: an answer, an error about it, what a proxy made of it.
func (p *Journeys) concerns(j *trace.Journey) (there, back bool) {
	inverse := p.Tuple.Inverse()
	for i := range j.Hops {
		h := &j.Hops[i].Headers
		if j.Hops[i].Point.Namespace != p.From && len(p.There) == 0 {
			continue // equal numbers elsewhere are a coincidence until the packet was seen
		}
		switch {
		case h.Quoted == p.Tuple:
			return false, true
		case h.Tuple == p.Tuple:
			return true, false
		case h.Tuple == inverse:
			return false, true
		}
	}
	// A packet of the host's own may be translated before any tap sees it.
	for i := range j.Flows {
		if f := &j.Flows[i]; f.Namespace == p.From && f.Original == p.Tuple {
			return j.Direction == trace.Original, j.Direction == trace.Reply
		}
	}
	for _, r := range j.Related {
		if p.ids[r.ID] {
			return r.Why == relProxiedAs && j.Direction != trace.Reply || r.Why == relRetransmission,
				r.Why == relReplyTo || r.Why == relErrorAbout || r.Why == relProxiedAs
		}
	}
	for i := range j.Flows {
		if p.flows[flowKey{j.Flows[i].Namespace, j.Flows[i].Original}] {
			return j.Direction == trace.Original, j.Direction == trace.Reply
		}
	}
	return false, false
}

// The relations that matter here (trace.Relation).
const (
	relReplyTo        = "reply_to"
	relErrorAbout     = "error_about"
	relRetransmission = "retransmission_of"
	relProxiedAs      = "proxied_as"
)

// complete reports whether nothing more is to be expected: the packet's journey
// has an end and, unless it was silence, so has its answer's. Where a proxy took
// the packet, both of the proxy's are to come, too.
func (p *Journeys) complete(silent bool, proxies []netinfo.Proxy) bool {
	switch {
	case len(p.There) == 0:
		return false
	case silent:
		return !arrived(p.There)
	case len(p.Back) == 0:
		return false
	case !p.taken(proxies):
		return true
	}
	made := p.Proxied()
	return made != nil && p.answerTo(made) != nil
}

// answer is what came back to the sender, as it was seen there; ok is false while nothing
// was.
func (p *Journeys) answer(sent time.Time) (a Answer, ok bool) {
	for _, j := range p.Back {
		for i := range j.Hops {
			h := &j.Hops[i]
			if h.Point.Namespace != p.From || h.Point.Direction != capture.In {
				continue
			}
			a.After = time.Duration(h.Time - sent.UnixNano())
			switch x := p.objectionIn(); {
			case h.Headers.Quoted.Valid() && x.portUnreachable():
				a.Result, a.Objection = Refused, x
			case h.Headers.Quoted.Valid():
				a.Result, a.Objection = Unreachable, x
			case h.Headers.TCPFlags&packet.RST != 0:
				a.Result = Refused
			default:
				a.Result = Replied
			}
			return a, true
		}
	}
	return a, false
}

// taken reports whether the packet was delivered where one of the proxies listens.
func (p *Journeys) taken(proxies []netinfo.Proxy) bool {
	j := p.There[0]
	if j.Verdict.Result != trace.Delivered || j.Verdict.Hop < 0 {
		return false
	}
	end := &j.Hops[j.Verdict.Hop]
	return slices.ContainsFunc(proxies, func(proxy netinfo.Proxy) bool {
		return proxy.Namespace == end.Point.Namespace && proxy.Listen.Port() == end.Headers.Tuple.DestinationPort &&
			proxy.Protocol == j.Protocol.String()
	})
}

// Translated reports whether the packet's destination was, so that it went past
// any proxy.
func (p *Journeys) Translated() bool {
	return slices.ContainsFunc(p.There[0].Translations, func(t trace.Translation) bool {
		return t.Before.Destination() != t.After.Destination() || t.Before.DestinationPort != t.After.DestinationPort
	})
}

// Proxied returns the first packet of the connection that a proxy made for this
// one; nil when none was seen.
func (p *Journeys) Proxied() *trace.Journey {
	for _, j := range p.There {
		for _, r := range j.Related {
			if r.Why == relProxiedAs {
				return j
			}
		}
	}
	return nil
}

// answerTo returns the answer to the journey, or nil.
func (p *Journeys) answerTo(j *trace.Journey) *trace.Journey {
	for _, back := range p.Back {
		for _, r := range back.Related {
			if r.ID == j.ID && r.Why == relReplyTo {
				return back
			}
		}
	}
	return nil
}
