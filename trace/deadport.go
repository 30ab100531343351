package trace

import (
	"fmt"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// carries reports whether frames can pass a link, as a topology has it: it is up, and so
// is what is at its other end. A bridge sends nothing to a port of which that is not so
// (br_port_carrier_check in net/bridge/br_if.c).
func carries(l *netinfo.Link) bool {
	switch l.State {
	case "":
		return true // not told
	case "down", "lowerlayerdown", "notpresent":
		return false
	}
	return l.Up
}

// acrossPorts reports whether a bridge was to pass the packet on from port to port where
// it was seen, so that nothing routed it.
func (c *Correlator) acrossPorts(s *sighting) bool {
	return s.point.Direction == capture.In && s.link != nil && s.link.master != (netinfo.LinkKey{}) && !c.forBridge(s)
}

// deadPort says why no port of a bridge takes a frame, seen where the bridge is to send
// it: of the one behind which its MAC address is, or of that port's other end, topologies
// told before it came, and ever since or until well after, that it carries nothing. Empty
// where they did not.
func (c *Correlator) deadPort(s *sighting) string {
	bridge := s.link
	if c.acrossPorts(s) {
		bridge = c.hosts.links[s.link.master]
	}
	if bridge == nil || !bridge.bridge || !s.h.Layers.Has(packet.LayerEthernet) {
		return ""
	}
	for _, port := range c.hosts.topology.Ports(bridge.key) {
		l := c.hosts.links[port.Key]
		if l == nil || l == s.link {
			continue
		}
		far := c.hosts.links[l.peer]
		if far == nil || far.mac != s.h.DestinationMAC {
			continue
		}
		_, farDown := far.stoppedAt(s.time)
		switch stopped, down := l.stoppedAt(s.time); {
		case farDown && c.hosts.topology.Link(far.key) != nil:
			return fmt.Sprintf("%s of %s, which has its MAC address, is down", far.name, far.ns.name)
		case down:
			return fmt.Sprintf("%s, behind which its MAC address is, is down", l.name)
		case stopped:
			return fmt.Sprintf("%s, behind which its MAC address is, has no carrier", l.name)
		}
	}
	return ""
}

// sentNowhere reports whether a bridge had no port that could take a packet, and puts that
// into v.
func (c *Correlator) sentNowhere(s *sighting, v *Verdict) bool {
	if s.point.Direction == capture.In && !c.acrossPorts(s) || s.link == nil {
		return false
	}
	why := c.deadPort(s)
	if why == "" {
		return false
	}
	v.Result, v.Evidence, v.Reason = Dropped, ByRules, fmt.Sprintf("%s sends it nowhere: %s", c.hosts.layer3(s.link), why)
	return true
}

// strayed says where a frame should have gone that was sent to others, who do not take it:
// a bridge forgets what was behind a port when that goes down.
func (c *Correlator) strayed(hops []sighting) string {
	for i := range hops {
		if why := c.deadPort(&hops[i]); why != "" {
			return ": " + why
		}
	}
	return ""
}

// noPort is the likeliest cause where a bridge passed a frame on to none of its ports.
func (c *Correlator) noPort(s *sighting) string {
	return c.hosts.layer3(s.link) + " has no port that forwards to its MAC address"
}
