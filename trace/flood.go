package trace

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// flood is what a bridge made of a frame whose receiver it did not know: a copy
// for each port (net/bridge/br_forward.c, br_flood).
type flood struct {
	bridge   string
	mac      string
	ports    int
	ignored  []string // namespaces that got a copy which is for another MAC address
	accepted bool     // one of them took it
}

// floodOf finds the frame among a journey's hops; nil when no bridge sent it out
// by more than one port, or when it was for more than one receiver.
func (c *Correlator) floodOf(hops []sighting) *flood {
	var f *flood
	var seen [8]capture.Point // ports are few; more are not counted twice, only not at all
	for i := range hops {
		s := &hops[i]
		if s.point.Direction != capture.Out || s.link == nil || s.link.master == (netinfo.LinkKey{}) ||
			!s.h.Layers.Has(packet.LayerEthernet) || s.h.DestinationMAC[0]&1 != 0 {
			continue
		}
		master := c.hosts.links[s.link.master]
		if master == nil || f != nil && (f.ports == len(seen) || f.bridge != master.name || slices.Contains(seen[:f.ports], s.point)) {
			continue
		}
		if f == nil {
			f = &flood{bridge: master.name, mac: net.HardwareAddr(s.h.DestinationMAC[:]).String()}
		}
		seen[f.ports] = s.point
		f.ports++
		for k := range hops {
			end := &hops[k]
			if end.link == nil || s.link.peer != end.link.key || end.point.Direction != capture.In {
				continue
			}
			if end.typ == capture.OtherHost {
				f.ignored = append(f.ignored, end.space.name)
			} else {
				f.accepted = true
			}
			break
		}
	}
	if f == nil || f.ports < 2 {
		return nil
	}
	return f
}

// note says of a frame that arrived where else it was.
func (f *flood) note() string {
	return fmt.Sprintf("flooded: %s did not know behind which port %s is, so %s got it, too, and ignored it", f.bridge, f.mac, list(f.ignored))
}

// verdict is how a frame ended that nobody took.
func (f *flood) verdict() Verdict {
	return Verdict{Result: Flooded, Hop: -1, Evidence: ByTap, Reason: fmt.Sprintf(
		"%s did not know behind which port %s is and sent it out by %d; it came to %s, whose MAC address is another, so nobody took it",
		f.bridge, f.mac, f.ports, list(f.ignored))}
}

// list puts names in a sentence.
func list(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
