package trace

import (
	"fmt"
	"net/netip"

	"natlens/capture/packet"
)

// stray explains a datagram that came to this host for nobody: it looks like the
// answer to a translated question, but is not from the address that was asked, as
// when a server with several addresses listens on all of them. The kernel
// compares all of a tuple, so no flow matches. Empty when it is not that.
func (c *Correlator) stray(s *sighting) string {
	t := s.tuple
	x := c.flows[s.point.Namespace]
	if x == nil || t.Protocol != packet.UDP || s.flow.reply || !s.space.has(t.Destination()) {
		return ""
	}
	if own := s.flow.flow; own != nil && own.translated() {
		return ""
	}
	f := x.asked[askedKey(t)]
	if f == nil || f.died != 0 || f.Reply.Source() == t.Source() {
		return ""
	}
	return fmt.Sprintf("looks like an answer to %s, which asked %v: it comes from %v, so it belongs to no translated flow and goes to this host itself",
		f.lastQuestion(), f.Reply.Source(), t.Source())
}

// lastQuestion names the newest journey of the flow's original direction.
func (t *trackedFlow) lastQuestion() string {
	if id, ok := t.asker(func(query) bool { return true }); ok {
		return fmt.Sprintf("#%d", id)
	}
	return "a question of " + t.Original.Source().String()
}

// askedKey is a tuple without the address that it comes from.
func askedKey(t packet.Tuple) packet.Tuple {
	nobody := netip.IPv6Unspecified()
	if t.Is4() {
		nobody = netip.IPv4Unspecified()
	}
	return packet.NewTuple(t.Protocol, nobody, t.Destination(), t.SourcePort, t.DestinationPort)
}

// translated reports whether anything of the flow is.
func (t *trackedFlow) translated() bool { return t.Reply != t.Original.Inverse() }
