package filter

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

func TestWhatNoPacketCanMatch(t *testing.T) {
	for expr, part := range map[string]string{
		"tcp and udp":                                  "tcp and udp",
		"ip and ip6":                                   "ip and ip6",
		"port 80 and icmp":                             "port 80 and icmp",
		"tcp and proto 17":                             "tcp and udp",
		"tcp or udp and icmp":                          "tcp or udp and icmp",
		"icmp and ip6":                                 "icmp and ip6",
		"ip6 and host 10.0.0.1":                        "ip6 and host 10.0.0.1",
		"net fd00::/8 and ip[8] < 5":                   "net fd00::/8 and ip[8] < 5",
		"tcp[tcpflags] & tcp-syn != 0 and udp":         "tcp[13] & 2 != 0 and udp",
		"back and tcp and not tcp":                     "container back and tcp and not tcp",
		"port 80 and not port 80":                      "port 80 and not port 80",
		"src port 80 and tcp and src port 443":         "src port 80 and src port 443",
		"src port 80 and 443":                          "src port 80 and src port 443",
		"src host 10.0.0.1 and src net 192.168.0.0/16": "src host 10.0.0.1 and src net 192.168.0.0/16",
		"verdict dropped and verdict left":             "verdict dropped and verdict left",
		"inbound and outbound":                         "inbound and outbound",
		"not ip and not ip6":                           "not ip and not ip6",
		"tcp and (1 > 2 or udp)":                       "tcp and (1 > 2 or udp)",
		"(tcp and udp) or (icmp and port 1)":           "tcp and udp",
	} {
		_, err := Parse(expr, nil)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Message != "no packet can match "+strconv.Quote(part)+": where either will do say or" {
			t.Errorf("%q: %v, want %q", expr, err, part)
		}
	}
	for _, expr := range []string{"1 > 2", "not (tcp or not tcp)"} {
		if _, err := Parse(expr, nil); err == nil || !strings.HasPrefix(err.Error(), "filter: no packet can match ") || strings.Contains(err.Error(), "either") {
			t.Errorf("%q: %v", expr, err)
		}
	}
	for _, expr := range []string{
		"port 80 and port 443", "host 10.0.0.1 and host 10.0.0.2", "port 80 and not src port 80", "src port 80 and dst port 443", "port 2222 and not port 22",
		"nat and not nat dnat", "tcp and udp or icmp", "ip and not not ip6", "proto 1 and ip6", "less 10", "src port 80-90 or 1 > 2", "verdict dropped or verdict left",
		"link eth0 and link eth1 or flow 1", "src net 10.0.0.0/8 and src host 10.0.0.1", "flow 1 and flow 2", "arp or icmp", "not arp and tcp",
	} {
		if _, err := Parse(strings.ReplaceAll(expr, "src port 80-90", "src portrange 80-90"), nil); err != nil {
			t.Errorf("%q: %v", expr, err)
		}
	}
}

// What is refused for matching nothing matches no journey, whatever its hops differ in.
func TestNothingIsRefusedThatMatches(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var journeys []*trace.Journey
	for range 600 {
		journeys = append(journeys, wandering(r))
	}
	refused, picking := 0, 0
	for range 30000 {
		expr := aboutJourneys(r, 4)
		f, err := parse(expr, nil)
		if err != nil {
			continue // of what makes no journeys, or two tags
		}
		impossible := refuseImpossible(expr, f.root) != nil
		if impossible {
			refused++
		}
		for _, j := range journeys {
			if !f.Match(j) {
				continue
			}
			if picking++; impossible {
				t.Fatalf("%q is refused, but picks %+v", expr, j)
			}
			break
		}
	}
	if refused < 2000 || picking < 10000 {
		t.Errorf("%d refused, %d pick something", refused, picking)
	}
}

// wandering is a journey whose addresses and ports are others at each hop, with sides
// of translations that no tap saw; docker-proxy's are of the other version of IP.
func wandering(r *rand.Rand) *trace.Journey {
	six := r.IntN(3) == 0
	tuple := func(p packet.Protocol, six bool) packet.Tuple {
		hosts := hosts4
		if six {
			hosts = hosts6
		}
		return packet.NewTuple(p, netip.MustParseAddr(hosts[r.IntN(3)]), netip.MustParseAddr(hosts[r.IntN(3)]), portsN[r.IntN(5)], portsN[r.IntN(5)])
	}
	p := []packet.Protocol{packet.TCP, packet.TCP, packet.UDP, packet.UDP, packet.ICMP, packet.ICMPv6, 47, packet.SCTP}[r.IntN(8)]
	layer := map[packet.Protocol]packet.Layers{
		packet.TCP: packet.LayerTCP, packet.UDP: packet.LayerUDP, packet.SCTP: packet.LayerSCTP, packet.ICMP: packet.LayerICMP, packet.ICMPv6: packet.LayerICMP,
	}[p]
	if r.IntN(5) == 0 {
		layer = packet.LayerFragment
	}
	j := &trace.Journey{Protocol: p, Verdict: trace.Verdict{Result: trace.Result(results[r.IntN(len(results))])}, Flows: []netfilter.Flow{{ID: uint32(1 + r.IntN(2))}}}
	for range r.IntN(4) {
		h := trace.Hop{Interface: []string{"eth0", "veth1"}[r.IntN(2)], Point: capture.Point{Direction: capture.Direction(r.IntN(2))}}
		if h.Type = capture.PacketType(r.IntN(5)); r.IntN(3) == 0 {
			h.Type = capture.UnknownType
		}
		h.Headers.Layers = layer | packet.LayerEthernet | packet.LayerIPv4
		if six {
			h.Headers.Layers = layer | packet.LayerEthernet | packet.LayerIPv6
		}
		if r.IntN(4) == 0 {
			h.Headers.Layers |= packet.LayerVLAN
			h.Headers.VLAN = uint16(5 + r.IntN(2))
		}
		h.Headers.TTL, h.Headers.TCPFlags, h.Headers.Length = uint8(60+r.IntN(6)), uint8(r.IntN(32)), uint32(40+r.IntN(100))
		h.Headers.Tuple = tuple(p, six)
		j.Hops = append(j.Hops, h)
	}
	for range r.IntN(3) {
		c := trace.Translation{Kind: natKinds[r.IntN(len(natKinds))], Between: [2]int{r.IntN(3) - 1, r.IntN(3) - 1}, Before: tuple(p, six), After: tuple(p, six)}
		if r.IntN(4) == 0 {
			c.Kind, c.Between, c.Before = trace.Proxy, [2]int{-1, -1}, tuple(p, !six)
		}
		j.Translations = append(j.Translations, c)
	}
	from := tuple(p, six)
	if !from.HasPorts() {
		from.SourcePort, from.DestinationPort = 0, 0
	}
	j.From, j.To = trace.Endpoint{IP: from.Source(), Port: from.SourcePort, Name: "back"}, trace.Endpoint{IP: from.Destination(), Port: from.DestinationPort}
	return j
}

// aboutJourneys builds an expression that is likely to contradict itself.
func aboutJourneys(r *rand.Rand, depth int) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 {
		switch r.IntN(6) {
		case 0:
			return "not (" + aboutJourneys(r, depth-1) + ")"
		case 1, 2, 3:
			return "(" + aboutJourneys(r, depth-1) + pick(" and ", " and ", " or ") + aboutJourneys(r, depth-1) + ")"
		}
	}
	switch r.IntN(4) {
	case 0:
		return pick("tcp", "udp", "icmp", "icmp6", "ip", "ip6", "ip proto 6", "ip6 proto 17", "proto 47", "ip multicast", "ip6 multicast")
	case 1:
		return pick("nat", "nat dnat", "verdict dropped", "verdict left", "inbound", "outbound", "flow 1", "flow 2", "container back", "src container back", "link eth0", "link veth1")
	case 2:
		return pick("vlan", "vlan 5", "len > 80", "less 70", "ip[8] < 63", "ip6[7] > 62", "tcp[13] & 2 != 0", "udp[0:2] = 22", "icmp[0] = 0", "ether[0] = 0", "1 > 2", "1 = 1")
	}
	return randomPrimitive(r, func(list ...string) string { return slices.Clone(list)[r.IntN(len(list))] })
}
