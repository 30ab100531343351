package probe

import (
	"encoding/json"
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
		topology:         t,
		rules:            func(n *netinfo.Namespace) *netfilter.Ruleset { return &netfilter.Ruleset{Namespace: n.ID} },
		forwards:         func(*netinfo.Namespace, bool) bool { return true },
		bridgeFilter:     func(*netinfo.Namespace, bool) bool { return true },
		answersForOthers: func(*netinfo.Namespace, *netinfo.Link, bool) bool { return false },
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
		l := &netinfo.Link{Key: netinfo.LinkKey{Namespace: ns, Index: 2}, Name: "eth0", Kind: "macvlan", Mode: "bridge", Parent: &uplink.Key, Up: true}
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

// Whether somebody has the next address is known where all that is behind a link is on
// this host.
func TestPredictWhoHasTheAddress(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		change         func(*host, *netinfo.Topology)
		stages         string
		result         Result
		reason, unsure string
	}{
		{"its own", "host", "10.9.0.2", nil, "host:>up0 router:eth0>", Reached, "", ""},
		{"nobody's, sent here", "host", "10.9.0.7", nil, "host:>up0", NoWay, "nobody behind up0 has the address 10.9.0.7", ""},
		{"nobody's, passed on", "ubuntu", "10.9.0.7", nil, "ubuntu:>eth0 host:veth-ubuntu>up0", NoWay, "nobody behind up0 has the address 10.9.0.7", ""},
		{"one that it answers for", "host", "10.9.0.7", func(h *host, _ *netinfo.Topology) {
			h.answersForOthers = func(n *netinfo.Namespace, l *netinfo.Link, is4 bool) bool {
				return n.Name == "router" && l.Name == "eth0" && is4
			}
		}, "host:>up0 router:eth0>up1", NoWay, "nobody behind router:up1 has the address 10.9.0.7", ""},
		{"on a bridge with a port to outside", "back", "172.24.0.77", func(_ *host, t *netinfo.Topology) {
			n := t.Namespace(hostNS)
			n.Links = append(n.Links, &netinfo.Link{Key: netinfo.LinkKey{Namespace: hostNS, Index: 77}, Name: "eth7", Kind: "device", Up: true,
				Master: &n.LinkByName("br-back").Key})
			t.Seal()
		}, "back:>eth0", Reached, "", "what is behind eth7 is not on this host"},
		{"everybody's", "back", "172.24.255.255", func(h *host, _ *netinfo.Topology) {
			h.route = func(*netinfo.Namespace, routeQuery) (route, error) { return route{broadcast: true}, nil }
		}, "", NoWay, "172.24.255.255 is a broadcast address there, not one host's", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := fixture()
			join := func(n *netinfo.Namespace, index int32, name, address string) *netinfo.Link {
				l := &netinfo.Link{Key: netinfo.LinkKey{Namespace: n.ID, Index: index}, Name: name, Kind: "veth", Up: true, Addresses: []netip.Prefix{prefix(address)}}
				n.Links = append(n.Links, l)
				return l
			}
			router := &netinfo.Namespace{ID: 77, Name: "router"}
			topology.Namespaces = append(topology.Namespaces, router)
			near, far := join(topology.Namespace(hostNS), 90, "up0", "10.9.0.1/24"), join(router, 2, "eth0", "10.9.0.2/24")
			near.Peer, far.Peer = &netinfo.Peer{Key: far.Key}, &netinfo.Peer{Key: near.Key}
			h := withoutRules(topology.Seal())
			routes := h.route
			h.route = func(n *netinfo.Namespace, q routeQuery) (route, error) {
				if n == router && q.to == addr("10.9.0.7") {
					up1 := *near
					up1.Name = "up1"
					up1.Peer = &netinfo.Peer{Key: near.Key}
					return route{out: &up1}, nil
				}
				return routes(n, q)
			}
			if c.change != nil {
				c.change(&h, topology)
			}
			from, err := FindSource(topology, c.from)
			if err != nil {
				t.Fatal(err)
			}
			e := h.predict(from, Destination{Address: addr(c.to)}, Request{Protocol: packet.ICMP})
			if got := stagesOf(e); got != c.stages || e.Result != c.result || e.Reason != c.reason || e.Unsure != c.unsure {
				t.Errorf("%s by %s: %q, unsure %q; want %s by %s: %q, unsure %q", e.Result, got, e.Reason, e.Unsure, c.result, c.stages, c.reason, c.unsure)
			}
		})
	}
}

// What comes back to the port of a bridge by which it came is sent by it in hairpin
// mode only, as far as the bridge shows it to NAT.
func TestPredictHairpin(t *testing.T) {
	const why = "172.24.0.2 is behind veth-back, by which it came, and br-back sends nothing back there: hairpin mode of that port is off"
	for _, c := range []struct {
		name, mode string
		filter     bool
		result     Result
		reason     string
	}{
		{"off", netinfo.HairpinOff, true, Dropped, why},
		{"on", netinfo.HairpinOn, true, Reached, ""},
		{"not known", "", true, Reached, ""},
		{"routed", netinfo.HairpinOff, false, Reached, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := fixture()
			topology.Proxies = nil
			topology.Namespace(hostNS).LinkByName("veth-back").Hairpin = c.mode
			h := withoutRules(topology)
			h.bridgeFilter = func(*netinfo.Namespace, bool) bool { return c.filter }
			h.rules = func(n *netinfo.Namespace) *netfilter.Ruleset {
				r := &netfilter.Ruleset{Namespace: n.ID}
				if n.ID != hostNS {
					return r
				}
				// dnat to 172.24.0.2
				if err := json.Unmarshal([]byte(`{"Namespace": 1, "Whole": true, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
					{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1,
					 "Rules": [{"Ref": {"Text": "dnat", "Chain": "PREROUTING"}, "Expressions": [
						{"n": "immediate", "r": [0, 1], "h": [false, true], "d": "rBgAAg=="}, {"n": "nat", "k": 1, "fa": 2, "a": 1}]}]}]}]}`), r); err != nil {
					t.Fatal(err)
				}
				return r
			}
			from, err := FindSource(topology, "back")
			if err != nil {
				t.Fatal(err)
			}
			e := h.predict(from, Destination{Address: addr("192.0.2.10")}, Request{Protocol: packet.TCP, Port: 8000})
			if e.Result != c.result || e.Reason != c.reason || e.Unsure != "" {
				t.Errorf("%s by %s: %q, unsure %q; want %s: %q", e.Result, stagesOf(e), e.Reason, e.Unsure, c.result, c.reason)
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
		out, gateway := n.LinkByName("eth0"), "172.24.0.1"
		if n.ID == hostNS {
			out, gateway = n.LinkByName("veth-back"), "172.24.0.2"
		}
		return route{out: out, gateway: addr(gateway), source: addr("172.24.0.2")}, nil
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
