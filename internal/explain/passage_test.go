package explain

import (
	"net/netip"
	"slices"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// asked is one question to the rules.
type asked struct {
	path netfilter.Path
	p    netfilter.Packet
}

// twoNetworks is street with its network and another, empty one; all that the
// rules are asked is kept.
func twoNetworks(all *[]asked) (f *Facts, street1, street2 *netinfo.Network) {
	var ignored []netfilter.Packet
	f = street(&ignored)
	self := f.Topology.Namespace(1)
	side := &netinfo.Link{Key: netinfo.LinkKey{Namespace: 1, Index: 4}, Name: "br-side", Kind: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("172.18.0.1/16")}}
	self.Links = append(self.Links, side)
	f.Topology.Seal()
	bridge, port := netinfo.LinkKey{Namespace: 1, Index: 3}, netinfo.LinkKey{Namespace: 1, Index: 7}
	back := &netinfo.Container{Container: docker.Container{Name: "back"}, Namespace: 2}
	street1 = &netinfo.Network{
		Network: docker.Network{Name: "street"}, BridgeLink: &bridge,
		Members: []netinfo.Member{{Container: back, Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}, HostLink: &port}},
	}
	street2 = &netinfo.Network{
		Network:    docker.Network{Name: "side", Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.18.0.0/16")}}},
		BridgeLink: &side.Key,
	}
	f.Rules = map[netns.ID]Rules{1: {Walk: func(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
		*all = append(*all, asked{path, p})
		return netfilter.Walk{Verdict: netfilter.Accepted, Hook: path[len(path)-1], Packet: p}
	}}}
	return f, street1, street2
}

func TestPassagesAsk(t *testing.T) {
	for _, c := range []struct {
		name  string
		ask   func(*Facts, *netinfo.Network, *netinfo.Network) Passage
		tuple string
		last  netfilter.Path
		in    string // link and port at the last question
		out   string
	}{
		{"between", func(f *Facts, a, b *netinfo.Network) Passage { return f.Between(a, b) }, "172.17.0.2 > 172.18.0.2",
			netfilter.Path{netfilter.Forward, netfilter.Postrouting}, "docker0 veth7", "br-side "},
		{"leaving", func(f *Facts, a, _ *netinfo.Network) Passage { p, _, _ := f.Leaving(a); return p }, "172.17.0.2 > 198.51.100.7",
			netfilter.Path{netfilter.Forward, netfilter.Postrouting}, "docker0 veth7", "eth0 "},
		{"entering", func(f *Facts, a, _ *netinfo.Network) Passage { p, _ := f.Entering(a); return p }, "198.51.100.7 > 172.17.0.2",
			netfilter.Path{netfilter.Forward, netfilter.Postrouting}, "eth0 ", "docker0 veth7"},
		{"to the host", func(f *Facts, a, _ *netinfo.Network) Passage { return f.ToHost(a) }, "172.17.0.2 > 172.17.0.1", netfilter.ToHost, "docker0 veth7", " "},
		{"from the host", func(f *Facts, a, _ *netinfo.Network) Passage { return f.FromHost(a) }, "172.17.0.1 > 172.17.0.2", netfilter.FromHost, " ", "docker0 veth7"},
	} {
		var all []asked
		f, a, b := twoNetworks(&all)
		p := c.ask(f, a, b)
		last := all[len(all)-1]
		if got := p.From.String() + " > " + p.To.String(); got != c.tuple || last.p.Tuple.Source() != p.From || last.p.Tuple.Destination() != p.To {
			t.Errorf("%s: about %s and %v, want %s", c.name, got, last.p.Tuple, c.tuple)
		}
		if in, out := last.p.InLink+" "+last.p.InPort, last.p.OutLink+" "+last.p.OutPort; in != c.in || out != c.out || !slices.Equal(last.path, c.last) {
			t.Errorf("%s: asked at %v with in %q, out %q", c.name, last.path, in, out)
		}
		if p.Verdict != netfilter.Accepted || p.Dropped() {
			t.Errorf("%s: %+v", c.name, p)
		}
		// No hook is told a link that the packet has not been given yet.
		if first := all[0]; first.path[0] == netfilter.Prerouting && first.p.OutLink != "" {
			t.Errorf("%s: prerouting was told where it goes", c.name)
		}
	}
}

func TestPassageUnknown(t *testing.T) {
	var all []asked
	f, a, b := twoNetworks(&all)
	f.Rules = nil
	if p := f.Between(a, b); p.Verdict != "" || p.Unsure == "" || p.Dropped() {
		t.Errorf("without rules: %+v", p)
	}
	f, a, b = twoNetworks(&all)
	f.Forwarding = "0"
	if p := f.Between(a, b); !p.Dropped() || !p.Unforwarded {
		t.Errorf("without forwarding: %+v", p)
	}
	b.Subnets = nil
	if p := f.Between(a, b); p.Verdict != "" || p.Unsure == "" {
		t.Errorf("to a network without addresses: %+v", p)
	}
}

// TestWithinAsksTheRulesOfIP only where bridges show them what they switch.
func TestWithinAsksTheRulesOfIP(t *testing.T) {
	for filter, want := range map[string]int{"0": 1, "1": 3} {
		var all []asked
		f, a, _ := twoNetworks(&all)
		f.BridgeFilter = filter
		p := f.Within(a, a.Members[0], netinfo.Member{Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.3/16")}})
		if len(all) != want || !all[0].p.Bridged || p.Switched != (filter == "0") {
			t.Errorf("bridge filter %s: %d questions, %+v", filter, len(all), p)
		}
	}
}
