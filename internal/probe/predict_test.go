package probe

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// withoutRules is the fixture as a host that has no rule: it forwards, back
// listens on port 8000, and routes are those of the links and a default one.
func withoutRules(t *netinfo.Topology) host {
	return host{
		topology:     t,
		rules:        func(n *netinfo.Namespace) *netfilter.Ruleset { return &netfilter.Ruleset{Namespace: n.ID} },
		forwards:     func(*netinfo.Namespace, bool) bool { return true },
		bridgeFilter: func(*netinfo.Namespace, bool) bool { return true },
		listeners: func(n *netinfo.Namespace) ([]netinfo.Listener, error) {
			if n.ID != backNS {
				return nil, nil
			}
			return []netinfo.Listener{
				{Protocol: "tcp", Address: netip.MustParseAddrPort("0.0.0.0:8000")},
				{Protocol: "tcp", Address: netip.MustParseAddrPort("127.0.0.1:9000")},
			}, nil
		},
		route: func(n *netinfo.Namespace, q routeQuery) (route, error) {
			if n.HasAddress(q.to) {
				return route{local: true, out: &netinfo.Link{Name: "lo", Kind: "loopback"}, source: q.to}, nil
			}
			for _, l := range n.Links {
				for _, p := range l.Addresses {
					if p.Contains(q.to) {
						return route{out: l, source: p.Addr()}, nil
					}
				}
			}
			if q.to == addr("203.0.113.1") {
				return route{}, &noRoute{"network is unreachable"}
			}
			gateway, out := "192.0.2.1", n.LinkByName("eth0")
			if n.ID != hostNS {
				gateway = out.Addresses[0].Masked().Addr().Next().String()
			}
			return route{out: out, gateway: addr(gateway), source: out.Addresses[0].Addr()}, nil
		},
	}
}

// stagesOf writes the way in a line: namespace:in>out.
func stagesOf(e *Expectation) string {
	var words []string
	for _, s := range e.Stages {
		name := func(l *netinfo.Link) string {
			if l == nil {
				return ""
			}
			return l.Name
		}
		words = append(words, s.Namespace.Name+":"+name(s.In)+">"+name(s.Out))
	}
	return strings.Join(words, " ")
}

func TestPredict(t *testing.T) {
	topology := fixture()
	for _, c := range []struct {
		name, from, to string
		change         func(*host)
		stages         string
		result         Result
		reason, unsure string
	}{
		{"bridged", "database", "back:8000", nil, "database:>eth0 host:veth-database>veth-back back:eth0>", Reached, "", ""},
		{"nobody listens", "database", "back:9", nil, "database:>eth0 host:veth-database>veth-back back:eth0>", RefusedBy, "nothing in back listens on tcp port 9", ""},
		{"listens for itself", "database", "back:9000", nil, "database:>eth0 host:veth-database>veth-back back:eth0>", RefusedBy,
			"on tcp port 9000 back listens for itself only, at 127.0.0.1", ""},
		{"routed", "ubuntu", "back", nil, "ubuntu:>eth0 host:veth-ubuntu>br-back back:eth0>", Reached, "", ""},
		{"out", "ubuntu", "198.51.100.7", nil, "ubuntu:>eth0 host:veth-ubuntu>eth0", Reached, "", "what is behind eth0 is not on this host"},
		{"no route", "ubuntu", "203.0.113.1", nil, "", NoWay, "ubuntu has no route to 203.0.113.1: network is unreachable", ""},
		{"nobody there", "back", "172.24.0.77", nil, "back:>eth0", NoWay, "nobody on br-back has the address 172.24.0.77", ""},
		{"from the host", "host", "back:8000", nil, "host:>br-back back:eth0>", Reached, "", ""},
		{"to itself", "host", "192.0.2.10", nil, "host:>lo", Reached, "", ""},
		{"by the proxy", "ubuntu", "192.0.2.10:8000", nil, "ubuntu:>eth0 host:veth-ubuntu> host:>br-back back:eth0>", Reached, "", ""},
		{"not forwarded", "ubuntu", "back", func(h *host) { h.forwards = func(*netinfo.Namespace, bool) bool { return false } },
			"ubuntu:>eth0 host:veth-ubuntu>", Dropped, "does not forward", ""},
		{"not forwarded, says the route", "ubuntu", "back", func(h *host) {
			h.forwards = func(*netinfo.Namespace, bool) bool { return false }
			found := h.route
			h.route = func(n *netinfo.Namespace, q routeQuery) (route, error) {
				if n.ID == hostNS && q.in != nil {
					return route{}, &noRoute{"network is unreachable"} // as the kernel answers
				}
				return found(n, q)
			}
		}, "ubuntu:>eth0 host:veth-ubuntu>", Dropped, "does not forward", ""},
		{"rules not known", "ubuntu", "back", func(h *host) { h.rules = func(*netinfo.Namespace) *netfilter.Ruleset { return nil } },
			"ubuntu:>eth0", Reached, "", "the rules are not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Parse(c.from, c.to, false)
			if err != nil {
				t.Fatal(err)
			}
			from, err := FindSource(topology, r.From)
			if err != nil {
				t.Fatal(err)
			}
			to, _, err := FindDestination(topology, from, r.To)
			if err != nil {
				t.Fatal(err)
			}
			h := withoutRules(topology)
			if c.change != nil {
				c.change(&h)
			}
			e := h.predict(from, to, r)
			if got := stagesOf(e); got != c.stages || e.Result != c.result {
				t.Errorf("%s by %s, want %s by %s", e.Result, got, c.result, c.stages)
			}
			if !strings.Contains(e.Reason, c.reason) || !strings.Contains(e.Unsure, c.unsure) || (c.unsure == "") != (e.Unsure == "") {
				t.Errorf("reason %q, unsure %q; want %q, %q", e.Reason, e.Unsure, c.reason, c.unsure)
			}
		})
	}
}

// lan is the fixture with a macvlan of the host's eth0 in camera, and one in printer.
func lan(change func(host, camera *netinfo.Namespace)) *netinfo.Topology {
	t := fixture()
	host := t.Namespace(hostNS)
	uplink := host.LinkByName("eth0")
	uplink.Up = true
	for i, name := range []string{"camera", "printer"} {
		ns := ubuntuNS + 1 + netns.ID(i)
		l := &netinfo.Link{Key: netinfo.LinkKey{Namespace: ns, Index: 2}, Name: "eth0", Kind: "macvlan", Mode: "bridge", Parent: &uplink.Key}
		l.Addresses = []netip.Prefix{prefix("192.0.2." + strconv.Itoa(20+i) + "/24")}
		t.Namespaces = append(t.Namespaces, &netinfo.Namespace{ID: ns, Name: name, Links: []*netinfo.Link{l}})
	}
	if change != nil {
		change(host, t.Namespaces[len(t.Namespaces)-2])
	}
	return t.Seal()
}

// A macvlan and what it stands on do not hear each other; what a namespace has beside
// that may change it.
func TestPredictMacvlan(t *testing.T) {
	add := func(n *netinfo.Namespace, l *netinfo.Link) {
		l.Key, l.Up = netinfo.LinkKey{Namespace: n.ID, Index: 99}, true
		n.Links = append(n.Links, l)
	}
	const hears, getsNothing = "camera:eth0 is a macvlan on eth0, and hands nothing to what it stands on",
		"camera:eth0 is a macvlan on eth0, and gets nothing that is sent by what it stands on"
	for _, c := range []struct {
		name, from, to string
		change         func(host, camera *netinfo.Namespace)
		stages         string
		result         Result
		reason, unsure string
	}{
		{"to the host", "camera", "192.0.2.10", nil, "camera:>eth0", NoWay, hears, ""},
		{"by another of its addresses", "camera", "172.24.0.1", nil, "camera:>eth0", Reached, "", "what is behind eth0 is not on this host"}, // by the gateway
		{"from the host", "host", "192.0.2.20", nil, "host:>eth0", NoWay, getsNothing, ""},
		{"to its like", "camera", "192.0.2.21", nil, "camera:>eth0 printer:eth0>", Reached, "", ""},
		{"to its like, apart", "camera", "192.0.2.21", func(_, camera *netinfo.Namespace) { camera.Links[0].Mode = "private" },
			"camera:>eth0", Reached, "", "what is behind eth0 is not on this host"},
		{"out", "camera", "198.51.100.7", nil, "camera:>eth0", Reached, "", "what is behind eth0 is not on this host"},
		{"by a switch that sends back", "camera", "192.0.2.10", func(_, camera *netinfo.Namespace) { camera.Links[0].Mode = "vepa" },
			"camera:>eth0", NoWay, hears, "a switch that sends back what eth0 sends (mode vepa) changes that"},
		{"with a second cable", "camera", "192.0.2.10", func(host, _ *netinfo.Namespace) { add(host, &netinfo.Link{Name: "eth1", Kind: "device"}) },
			"camera:>eth0", NoWay, hears, "eth1 may be on the same network as eth0, and answer"},
		{"with a macvlan of its own", "camera", "192.0.2.10", func(host, _ *netinfo.Namespace) {
			add(host, &netinfo.Link{Name: "shim", Kind: "macvlan", Mode: "bridge", Parent: &host.LinkByName("eth0").Key})
		}, "camera:>eth0 host:shim>", Reached, "", ""},
		{"what it stands on is elsewhere", "camera", "192.0.2.10", func(_, camera *netinfo.Namespace) { camera.Links[0].Parent = nil },
			"camera:>eth0", Reached, "", "what camera:eth0 stands on is not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := lan(c.change)
			from, err := FindSource(topology, c.from)
			if err != nil {
				t.Fatal(err)
			}
			h := withoutRules(topology)
			e := h.predict(from, Destination{Address: addr(c.to)}, Request{Protocol: packet.ICMP})
			if got := stagesOf(e); got != c.stages || e.Result != c.result || e.Reason != c.reason || e.Unsure != c.unsure {
				t.Errorf("%s by %s: %q, unsure %q; want %s by %s: %q, unsure %q", e.Result, got, e.Reason, e.Unsure, c.result, c.stages, c.reason, c.unsure)
			}
		})
	}
}

// A prediction ends, whatever the links are like: here each of two namespaces
// routes everything to the other.
func TestPredictEnds(t *testing.T) {
	topology := fixture()
	h := withoutRules(topology)
	h.route = func(n *netinfo.Namespace, _ routeQuery) (route, error) {
		out := n.LinkByName("eth0")
		if n.ID == hostNS {
			out = n.LinkByName("veth-back")
		}
		return route{out: out, gateway: addr("172.24.0.1"), source: addr("172.24.0.2")}, nil
	}
	from, err := FindSource(topology, "back")
	if err != nil {
		t.Fatal(err)
	}
	e := h.predict(from, Destination{Address: addr("198.51.100.7")}, Request{Protocol: packet.ICMP})
	if len(e.Stages) != maxStages || e.Unsure != "it goes round" {
		t.Errorf("%d stages, unsure %q", len(e.Stages), e.Unsure)
	}
}
