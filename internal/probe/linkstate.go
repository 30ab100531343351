package probe

import "natlens/netinfo"

// down ends a packet at a link that is down, or whose other end is; far is nil where that
// is not on this host. What a link that is down is given to send is dropped without a word
// (net/core/dev.c, noop_qdisc).
func (p *prediction) down(n *netinfo.Namespace, out, far *netinfo.Link) bool {
	switch {
	case !out.Up:
		p.isDown(n, out, "is down")
	case far != nil && !far.Up:
		p.isDown(p.topology.Namespace(far.Key.Namespace), far, "is down")
	case withoutCarrier(out) && out.Kind != "bridge": // a bridge tells whom it can't reach by itself
		p.isDown(n, out, "has no carrier")
	default:
		return false
	}
	return true
}

func (p *prediction) isDown(n *netinfo.Namespace, l *netinfo.Link, how string) {
	p.e.Down = true
	p.nobody("%s %s", p.linkName(n, l), how)
}

// withoutCarrier reports whether a link is up, but nothing can be sent by it (RFC 2863,
// ifOperStatus).
func withoutCarrier(l *netinfo.Link) bool {
	switch l.State {
	case "down", "lowerlayerdown", "notpresent":
		return true
	}
	return false
}
