package filter

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

const (
	self   netns.ID = 1
	inBack netns.ID = 2
)

// published22 is a host where port 2222 leads to port 22 of the container back,
// which is on two networks. The network quiet has a member and no link that is
// known.
func published22() *netinfo.Topology {
	link := func(ns netns.ID, index int32, name, network string) *netinfo.Link {
		return &netinfo.Link{Key: netinfo.LinkKey{Namespace: ns, Index: index}, Name: name, Network: network}
	}
	network := func(name, address string) *netinfo.Network {
		return &netinfo.Network{
			Network: docker.Network{Name: name},
			Members: []netinfo.Member{{Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}},
		}
	}
	t := &netinfo.Topology{
		Self: self,
		Namespaces: []*netinfo.Namespace{
			{ID: self, Name: "host", Links: []*netinfo.Link{
				link(self, 2, "eth0", ""), link(self, 3, "br-1", "back_net"), link(self, 4, "veth1", "back_net"), link(self, 5, "br-2", "second_net"),
			}},
			{ID: inBack, Name: "back", Links: []*netinfo.Link{link(inBack, 2, "eth0", "back_net"), link(inBack, 3, "eth1", "second_net")}},
		},
		Networks: []*netinfo.Network{network("back_net", "172.24.0.2/16"), network("second_net", "172.25.0.2/16"), network("quiet", "10.9.0.1/24")},
	}
	return t.Seal()
}

// seen is a hop of TCP.
func seen(ns netns.ID, index int32, name string, d capture.Direction, from, to string) trace.Hop {
	h := hop(packet.TCP, from, to)
	h.Point = capture.Point{Namespace: ns, Ifindex: index, Direction: d}
	h.Interface, h.Namespace = name, "host"
	h.Headers.Layers |= packet.LayerEthernet
	h.Headers.SourceMAC, h.Headers.DestinationMAC = [6]byte{2, 0, 0, 0, 0, byte(index)}, [6]byte{2, 0, 0, 0, 1, byte(index)}
	h.Headers.NetworkOffset, h.Headers.Length, h.Headers.TTL = 14, 60, 64
	h.Headers.TCPFlags = packet.SYN
	if ns == inBack {
		h.Namespace, h.Containers = "back", []string{"back", "sidecar"}
	}
	return h
}

const outside, uplink = "198.51.100.7:40000", "192.0.2.10:2222"

// login goes from outside to the published port.
func login() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.TCP,
		From:     trace.Endpoint{IP: addr("198.51.100.7"), Port: 40000},
		To:       trace.Endpoint{Name: "back", Containers: []string{"back", "sidecar"}, IP: addr("172.24.0.2"), Port: 22},
		Hops: []trace.Hop{
			seen(self, 2, "eth0", capture.In, outside, uplink),
			seen(self, 3, "br-1", capture.Out, outside, "172.24.0.2:22"),
			seen(self, 4, "veth1", capture.Out, outside, "172.24.0.2:22"),
			seen(inBack, 2, "eth0", capture.In, outside, "172.24.0.2:22"),
		},
		Translations: []trace.Translation{{
			Kind: trace.DNAT, Between: [2]int{0, 1}, ConntrackID: 77,
			Before: packet.NewTuple(packet.TCP, addr("198.51.100.7"), addr("192.0.2.10"), 40000, 2222),
			After:  packet.NewTuple(packet.TCP, addr("198.51.100.7"), addr("172.24.0.2"), 40000, 22),
		}},
		Flows:    []netfilter.Flow{{ID: 77}, {ID: 88}},
		Verdict:  trace.Verdict{Result: trace.Delivered},
		Topology: published22(),
	}
}

// answer is what back answers to login.
func answer() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.TCP,
		From:     trace.Endpoint{Name: "back", Containers: []string{"back", "sidecar"}, IP: addr("172.24.0.2"), Port: 22},
		To:       trace.Endpoint{IP: addr("198.51.100.7"), Port: 40000},
		Hops: []trace.Hop{
			seen(inBack, 2, "eth0", capture.Out, "172.24.0.2:22", outside),
			seen(self, 4, "veth1", capture.In, "172.24.0.2:22", outside),
			seen(self, 3, "br-1", capture.In, "172.24.0.2:22", outside),
			seen(self, 2, "eth0", capture.Out, uplink, outside),
		},
		Translations: []trace.Translation{{Kind: trace.DNAT, Undo: true, Between: [2]int{2, 3}, ConntrackID: 77}},
		Flows:        []netfilter.Flow{{ID: 77}},
		Verdict:      trace.Verdict{Result: trace.Left},
		Topology:     published22(),
	}
}

// proxied ends at a process of the host.
func proxied() *trace.Journey {
	h := seen(self, 2, "eth0", capture.In, outside, "192.0.2.10:80")
	h.Headers.Layers |= packet.LayerVLAN
	h.Headers.VLAN, h.Headers.TCPFlags, h.Headers.NetworkOffset = 5, packet.ACK|packet.PSH, 18
	h.Headers.DestinationMAC = [6]byte{1, 0, 0x5e, 0, 0, 1}
	return &trace.Journey{
		Protocol: packet.TCP, Hops: []trace.Hop{h},
		From: trace.Endpoint{IP: addr("198.51.100.7"), Port: 40000}, To: trace.Endpoint{Name: "host", IP: addr("192.0.2.10"), Port: 80},
		Translations: []trace.Translation{{Kind: trace.Proxy, Between: [2]int{0, -1}}},
		Verdict:      trace.Verdict{Result: trace.Delivered},
		Topology:     published22(),
	}
}

// refusedEarly was dropped before any tap.
func refusedEarly() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.UDP,
		From:     trace.Endpoint{Name: "host", IP: addr("192.0.2.10"), Port: 5000}, To: trace.Endpoint{IP: addr("10.9.0.1"), Port: 53},
		Translations: []trace.Translation{{
			Kind: trace.Masquerade, Between: [2]int{-1, -1}, ConntrackID: 99,
			Before: packet.NewTuple(packet.UDP, addr("192.0.2.10"), addr("10.9.0.1"), 5000, 53),
			After:  packet.NewTuple(packet.UDP, addr("192.0.2.11"), addr("10.9.0.1"), 5000, 53),
		}},
		Verdict:  trace.Verdict{Result: trace.Dropped},
		Topology: published22(),
	}
}

func TestMatchJourneys(t *testing.T) {
	journeys := []struct {
		name string
		j    *trace.Journey
	}{{"login", login()}, {"answer", answer()}, {"proxied", proxied()}, {"refused", refusedEarly()}}
	for _, tt := range []struct{ expr, want string }{
		// What a published port leaves of "not".
		{"port 22", "login answer"},
		{"port 2222", "login answer"},
		{"not port 22", "proxied refused"},
		{"not port 2222", "proxied refused"},
		{"port 2222 and not port 22", ""},
		{"tcp and not (port 22 or container back)", "proxied"},
		{"not flow 77", "proxied refused"},
		{"not (host 198.51.100.7 and port 40000)", "refused"},
		{"not (port 22 or port 80)", "refused"},
		{"tcp and not port 22", "proxied"},
		{"link eth0 and not port 22", "proxied"},
		{"src net 198.51.100.0/24 and dst port 22", "login"},
		{"dst host 192.0.2.10 and dst port 22", ""},
		{"dst host 192.0.2.10 and dst port 2222", "login"},

		{"network back_net", "login answer"},
		{"network second_net", ""}, // another of back's networks
		{"src network back_net", "answer"},
		{"dst network back_net", "login"},
		{"src and dst network back_net", ""},
		{"network quiet", "refused"}, // no tap there
		{"network nothing", ""},
		{"not network back_net", "proxied refused"},
		{"network back_net and src host 192.0.2.10", "answer"}, // an end's network is the whole journey's

		{"link eth0", "login answer proxied"},
		{"link back:eth0", "login answer"},
		{"link sidecar:eth0", "login answer"},
		{"link host:br-1", "login answer"},
		{"link eth1 or veth2", ""},
		{"link eth0 and port 22", ""}, // eth0 of the host sees 2222
		{"link back:eth0 and port 22", "login answer"},
		{"not link veth1", "proxied refused"},
		{"link eth0 and inbound", "login proxied"},
		{"link eth0 and outbound", "answer"},
		{"inbound", "login answer proxied"},

		{"nat", "login answer refused"},
		{"nat dnat", "login answer"},
		{"nat snat or masquerade", "refused"},
		{"not nat", "proxied"},
		{"verdict delivered", "login proxied"},
		{"verdict dropped or left", "answer refused"},
		{"not verdict delivered", "answer refused"},
		{"flow 77", "login answer"},
		{"flow 88", "login"},
		{"flow 99", "refused"}, // known by its translation
		{"flow 7", ""},

		{"ether host 02:00:00:00:00:03", "login answer"},
		{"ether dst 02:00:00:00:01:03", "login answer"},
		{"multicast", "proxied"},
		{"vlan", "proxied"},
		{"vlan 5 and len = 78", "proxied"},
		{"vlan 6", ""},
		{"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "login answer"},
		{"tcp[13] & tcp-push != 0", "proxied"},
		{"tcp[2:2] = 22", "login"},
		{"ip[16:4] = 0xac180002", "login"},
		{"greater 74", "login answer proxied"},
		{"less 73", ""},
		// Of what no tap saw only the addresses are known.
		{"udp and src host 192.0.2.11", "refused"},
		{"udp[2:2] = 53", ""},
	} {
		f := mustParse(t, tt.expr)
		var got []string
		for _, n := range journeys {
			if f.Match(n.j) {
				got = append(got, n.name)
			}
		}
		if s := join(got); s != tt.want {
			t.Errorf("%q picks %q, want %q", tt.expr, s, tt.want)
		}
	}
}

// A side of a translation that no tap saw has the headers of the hop beside it.
func TestMatchUnseenSide(t *testing.T) {
	j := login()
	j.Hops = j.Hops[:2]
	j.Hops[1] = j.Hops[0]
	j.Hops[1].Headers.TTL = 63
	j.Translations[0].Between = [2]int{1, -1}
	for expr, want := range map[string]bool{
		"dst port 22 and tcp[tcpflags] = tcp-syn": true,
		"tcp[2:2] = 22":                           true,
		"tcp[2:2] = 22 and ip[8] = 63":            true,
		"tcp[2:2] = 22 and ip[8] = 64":            false,
		"dst port 22 and tcp[tcpflags] = tcp-ack": false,
		"dst port 22 and link eth0":               false,
		"dst port 22 and inbound":                 false,
		"dst port 22 and ether[0] = 2":            false,
		"dst port 2222 and ether[0] = 2":          true,
	} {
		if got := mustParse(t, expr).Match(j); got != want {
			t.Errorf("%q: %v, want %v", expr, got, want)
		}
	}
}

// The pieces of a datagram are hops of one journey; only the first has ports.
func TestMatchPieces(t *testing.T) {
	first := hop(packet.UDP, "10.0.0.1:5000", "10.0.0.2:53")
	first.Headers.Layers |= packet.LayerFragment
	later := hop(packet.UDP, "10.0.0.1:0", "10.0.0.2:0")
	later.Headers.Layers = packet.LayerIPv4 | packet.LayerFragment
	j := &trace.Journey{Protocol: packet.UDP, Hops: []trace.Hop{first, later}}
	for expr, want := range map[string]bool{
		"port 53": true, "not port 53": false, "udp and not port 54": true, "port 0": false,
	} {
		if got := mustParse(t, expr).Match(j); got != want {
			t.Errorf("%q: %v, want %v", expr, got, want)
		}
	}
}

// However often negations are nested, each is judged once a journey; this test
// would not end otherwise.
func TestNestedNegations(t *testing.T) {
	expr := "port 1"
	for range 90 {
		expr = "not (port 1 or " + expr + ")"
	}
	if mustParse(t, expr).Match(login()) || !mustParse(t, "not ("+expr+")").Match(login()) {
		t.Error("an even number of negations of what is false is true")
	}
	long := "not port 1"
	for range 1000 {
		long += " and not port 1"
	}
	if !mustParse(t, long).Match(login()) || mustParse(t, long+" and not port 22").Match(login()) {
		t.Error("a thousand negations are judged wrongly")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	journeys := []*trace.Journey{login(), answer(), proxied(), refusedEarly()}
	for _, expr := range []string{
		"udp and host 172.24.0.9 or port 9 or container x", "not port 22 and not (host 10.0.0.1 or back)", "network none or src network none",
		"link x:y or link eth9", "nat netmap or flow 9 or verdict looped", "tcp[tcpflags] & (tcp-syn|tcp-fin) = 7 or len * 2 < 9 or ip[8] = 9",
		"ether host 02:42:ac:11:00:02 or broadcast or vlan 9 or ip6 multicast or vrrp",
	} {
		f := mustParse(t, expr)
		if n := testing.AllocsPerRun(100, func() {
			for _, j := range journeys {
				f.Match(j)
			}
		}); n != 0 {
			t.Errorf("%q: Match allocates %v times", expr, n)
		}
	}
}

// FuzzMatch holds that no expression fails on any packet, and what can be said
// of every one: its negation is its opposite, and its protocols include that of
// what it picks.
func FuzzMatch(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	var frames [][]byte
	for _, p := range over {
		frames = append(frames, randomFrame(f, r, "10.0.0.1", "10.1.0.1", p, p == packet.UDP), randomFrame(f, r, "fd00::1", "ff02::fb", p, false))
	}
	for _, expr := range []string{
		"not port 22", "tcp[13] & 2 != 0 or ip[16:4] = 7", "ip6[8:4] / 3 > len", "ether[0] & 1 = 1 and vlan", "network back_net or link eth0",
		"icmp[icmptype] = icmp-echo or icmp6[0] = 128", "src or dst net ::/1 and not (inbound or nat)",
	} {
		for _, data := range frames {
			f.Add(expr, data)
			f.Add(expr, data[:20])
		}
	}
	f.Fuzz(func(t *testing.T, expr string, data []byte) {
		pick, err := Parse(expr, names)
		if err != nil || pick.String() == "" || len(data) > 1<<12 {
			return
		}
		not, err := Parse("not ("+expr+")", names)
		if err != nil {
			return // nested too deeply now
		}
		protocols := pick.Protocols()
		for _, j := range []*trace.Journey{seenOnce(data), login(), refusedEarly(), masqueraded()} {
			matches := pick.Match(j)
			if matches == not.Match(j) {
				t.Errorf("%q and its negation are both %v", expr, matches)
			}
			if matches && protocols != nil && !slices.Contains(protocols, j.Protocol) {
				t.Errorf("%q picks protocol %s, which is not in %v", expr, j.Protocol, protocols)
			}
		}
	})
}
