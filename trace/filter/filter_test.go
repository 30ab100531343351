package filter

import (
	"net/netip"
	"slices"
	"testing"

	"natlens/capture/packet"
	"natlens/trace"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func names(word string) string {
	switch word {
	case "back", "database", "mpls":
		return word
	case "9d74845b", "1234":
		return "back"
	}
	return ""
}

func mustParse(t *testing.T, expr string) *Filter {
	t.Helper()
	f, err := Parse(expr, names)
	if err != nil {
		t.Fatalf("Parse(%q): %v", expr, err)
	}
	return f
}

// hop is a sighting of a whole packet.
func hop(p packet.Protocol, from, to string, containers ...string) trace.Hop {
	f, t := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	h := trace.Hop{Containers: containers}
	h.Headers.Layers = packet.LayerIPv4
	switch p {
	case packet.TCP:
		h.Headers.Layers |= packet.LayerTCP
	case packet.UDP:
		h.Headers.Layers |= packet.LayerUDP
	}
	h.Headers.Tuple = packet.NewTuple(p, f.Addr(), t.Addr(), f.Port(), t.Port())
	return h
}

// masqueraded is a connection of the container back to a server outside.
func masqueraded() *trace.Journey {
	veth := hop(packet.TCP, "172.24.0.2:4711", "198.51.100.7:80")
	veth.PeerContainers = []string{"back"}
	return &trace.Journey{
		Protocol: packet.TCP,
		From:     trace.Endpoint{Name: "back", Containers: []string{"back", "sidecar"}, IP: addr("172.24.0.2"), Port: 4711},
		To:       trace.Endpoint{IP: addr("198.51.100.7"), Port: 80},
		Hops: []trace.Hop{
			hop(packet.TCP, "172.24.0.2:4711", "198.51.100.7:80", "back", "sidecar"),
			veth,
			hop(packet.TCP, "192.0.2.10:61000", "198.51.100.7:80"),
		},
	}
}

// published comes in by a published port and is dropped before the container.
func published() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.TCP,
		From:     trace.Endpoint{IP: addr("198.51.100.7"), Port: 40000},
		To:       trace.Endpoint{Name: "database", Containers: []string{"database"}, IP: addr("172.24.0.3"), Port: 80},
		Hops: []trace.Hop{
			hop(packet.TCP, "198.51.100.7:40000", "192.0.2.10:8080"),
		},
		Translations: []trace.Translation{{
			Kind: trace.DNAT, Between: [2]int{0, -1},
			Before: packet.NewTuple(packet.TCP, addr("198.51.100.7"), addr("192.0.2.10"), 40000, 8080),
			After:  packet.NewTuple(packet.TCP, addr("198.51.100.7"), addr("172.24.0.3"), 40000, 80),
		}},
	}
}

// question goes to the resolver inside a container: no tap sees port 53.
func question() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.UDP,
		From:     trace.Endpoint{Name: "back", Containers: []string{"back"}, IP: addr("127.0.0.1"), Port: 40001},
		To:       trace.Endpoint{Name: "back", Containers: []string{"back"}, IP: addr("127.0.0.11"), Port: 38123},
		Hops:     []trace.Hop{hop(packet.UDP, "127.0.0.1:40001", "127.0.0.11:38123", "back")},
		Translations: []trace.Translation{{
			Kind: trace.DNAT, Between: [2]int{-1, 0},
			Before: packet.NewTuple(packet.UDP, addr("127.0.0.1"), addr("127.0.0.11"), 40001, 53),
			After:  packet.NewTuple(packet.UDP, addr("127.0.0.1"), addr("127.0.0.11"), 40001, 38123),
		}},
	}
}

// unseen was dropped before any tap.
func unseen() *trace.Journey {
	return &trace.Journey{
		Protocol: packet.TCP,
		From:     trace.Endpoint{Name: "host", IP: addr("192.0.2.10"), Port: 5000},
		To:       trace.Endpoint{IP: addr("203.0.113.9"), Port: 25},
	}
}

func TestMatch(t *testing.T) {
	journeys := map[string]*trace.Journey{
		"masqueraded": masqueraded(), "published": published(), "question": question(), "unseen": unseen(),
	}
	for _, tt := range []struct {
		expr string
		want string // names of the journeys, sorted
	}{
		{"", "masqueraded published question unseen"},
		{"tcp", "masqueraded published unseen"},
		{"udp", "question"},
		{"icmp", ""},
		{"ip", "masqueraded published question unseen"},
		{"ip6", ""},
		// Both sides of a translation count.
		{"host 172.24.0.2", "masqueraded"},
		{"host 192.0.2.10", "masqueraded published unseen"},
		{"src host 192.0.2.10", "masqueraded unseen"},
		{"dst 192.0.2.10", "published"},
		{"host 172.24.0.2 and host 192.0.2.10", ""}, // no one hop has both
		{"net 172.24.0.0/16", "masqueraded published"},
		{"net 172.24", "masqueraded published"},
		{"port 80", "masqueraded published"},
		{"port 8080", "published"},
		{"dst port http", "masqueraded published"},
		{"src port 80", ""},
		// A side of a translation that no tap saw.
		{"dst host 172.24.0.3", "published"},
		{"udp port domain", "question"},
		{"port 38123", "question"},
		// No hops.
		{"src host 192.0.2.10 and dst port 25", "unseen"},
		{"host 203.0.113.9", "unseen"},
		// Containers.
		{"back", "masqueraded question"},
		{"container back", "masqueraded question"},
		{"container sidecar", "masqueraded"},
		{"src container back", "masqueraded question"},
		{"dst container back", "question"},
		{"src and dst container back", "question"},
		{"dst database", "published"},
		{"back or database", "masqueraded published question"},
		{"container back and tcp", "masqueraded"},
		{"not container back", "published unseen"},
		{"not (back or database)", "unseen"},
		{"container nobody", ""},
		{"nobody", ""},
		{"dst 198.51.100.7", "masqueraded"},
		{"host back", "masqueraded question"},
		{"host 203.0.113.9 or database", "published unseen"},
		{"container database or 203.0.113.9", "published unseen"},
		// not means nowhere.
		{"not host 172.24.0.2", "published question unseen"},
		{"not port 80", "question unseen"},
		{"not port 8080", "masqueraded question unseen"},
		{"host 192.0.2.10 and not host 172.24.0.2", "published unseen"}, // the host's own
		{"not (host 172.24.0.2 and host 192.0.2.10)", "masqueraded published question unseen"},
		{"not not port 8080", "published"},
		{"not (port 80 and not port 8080)", "published question unseen"},
	} {
		f := mustParse(t, tt.expr)
		var got []string
		for name, j := range journeys {
			if f.Match(j) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if s := join(got); s != tt.want {
			t.Errorf("%q picks %q, want %q", tt.expr, s, tt.want)
		}
	}
}

func join(list []string) string {
	var s string
	for i, e := range list {
		if i > 0 {
			s += " "
		}
		s += e
	}
	return s
}

func TestMatchPeerContainer(t *testing.T) {
	j := masqueraded()
	j.From, j.Hops = trace.Endpoint{}, j.Hops[1:2]
	if !mustParse(t, "container back").Match(j) {
		t.Error("the host's end of the container's veth does not count")
	}
}

func TestNilMatchesEverything(t *testing.T) {
	var f *Filter
	if !f.Match(masqueraded()) || !(&Filter{}).Match(unseen()) {
		t.Error("a filter of nothing refuses")
	}
	if f.Protocols() != nil || f.String() != "" {
		t.Errorf("protocols %v, string %q", f.Protocols(), f.String())
	}
}

func BenchmarkMatch(b *testing.B) {
	f, err := Parse("tcp port 443 or host 172.24.0.9", nil)
	if err != nil {
		b.Fatal(err)
	}
	j := masqueraded()
	for b.Loop() {
		f.Match(j)
	}
}

func allBut(without ...packet.Protocol) (list []packet.Protocol) {
	for p := range 256 {
		if !slices.Contains(without, packet.Protocol(p)) {
			list = append(list, packet.Protocol(p))
		}
	}
	return list
}

func TestProtocols(t *testing.T) {
	const icmp, tcp, udp, icmp6, sctp = packet.ICMP, packet.TCP, packet.UDP, packet.ICMPv6, packet.SCTP
	type list = []packet.Protocol
	for _, tt := range []struct {
		expr string
		want list
	}{
		{"", nil},
		{"icmp", list{icmp}},
		{"icmp or icmp6", list{icmp, icmp6}},
		{"tcp", list{tcp}},
		{"port 80", list{tcp, udp, sctp}},
		{"tcp port 80", list{tcp}},
		{"ip", nil},
		{"host 10.0.0.1", nil},
		{"container back", nil},
		{"tcp and container back", list{tcp}},
		{"tcp or container back", nil},
		{"icmp or port 53", list{icmp, tcp, udp, sctp}},
		{"icmp and port 53", list{}},
		{"tcp and udp", list{}},
		{"not tcp", allBut(tcp)},
		{"not not tcp", list{tcp}},
		{"not tcp port 80", nil}, // TCP to other ports
		{"not (tcp or proto 17)", allBut(tcp, udp)},
		{"not ip proto 17", nil}, // over IPv6
		{"proto 47", list{47}},
		{"not proto 47", allBut(47)},
		{"tcp[tcpflags] & tcp-syn != 0", list{tcp}},
		{"not tcp[tcpflags] & tcp-syn != 0", nil},
		{"tcp[0:2] = udp[0:2]", list{}},
		{"icmp[0] = 8 or icmp6[0] = 128", list{icmp, icmp6}},
		{"tcp and len > 100", list{tcp}},
		{"udp and nat", list{udp}},
		{"udp or nat", nil},
		{"pim or vrrp or ah or esp or igrp", list{9, 50, 51, 103, 112}},
		{"port 80 and not tcp", list{udp, sctp}},
		{"port 80 and not tcp port 80", list{tcp, udp, sctp}},
		{"not (not tcp and not udp)", list{tcp, udp}},
		{"not (not icmp)", list{icmp}},
		{"not icmp", nil},
		{"ip6 and icmp", list{}},
		{"ip6 and proto 1", list{icmp}},
		{"not (ip and icmp)", nil}, // over IPv6
		{"not (ip and icmp) and ip", allBut(icmp)},
		{"ip6 and not udp and port 1", list{tcp, sctp}},
	} {
		f, err := parse(tt.expr, names)
		if err != nil {
			t.Errorf("%q: %v", tt.expr, err)
			continue
		}
		got := f.Protocols()
		if !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
			t.Errorf("%q: protocols %#v, want %#v", tt.expr, got, tt.want)
		}
	}
}
