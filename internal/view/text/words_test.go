package text

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/trace"
)

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		ns   int64
		want string
	}{
		{0, "0 µs"}, {400, "0.4 µs"}, {2500, "2.5 µs"}, {12_000, "12 µs"}, {97_400, "97 µs"}, {999_499, "999 µs"},
		{999_500, "1 ms"}, {1_500_000, "1.5 ms"}, {150_000_000, "150 ms"}, {999_600_000, "1 s"}, {3_500_000_000, "3.5 s"},
		{125_000_000_000, "125 s"}, {-3000, "-3 µs"},
	} {
		if got := (Style{}).duration(c.ns); got != c.want {
			t.Errorf("duration(%d) = %q, want %q", c.ns, got, c.want)
		}
	}
	if got := (Style{ASCII: true}).signed(12_000); got != "+12 us" {
		t.Errorf("signed in ASCII = %q", got)
	}
}

func TestQuiet(t *testing.T) {
	got := Style{}.Quiet(5*time.Second, trace.Counters{Journeys: 1, Observations: 16}, 0)
	if want := "nothing matched for 5s; so far 16 observations, 1 journey, 0 of them shown\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		counters trace.Counters
		hidden   uint64
		want     string
	}{
		{
			trace.Counters{Journeys: 4, Observations: 16}, 0,
			"4 journeys, 16 observations; lost: ring 0, conntrack 0, queue 0; unpaired 0\n",
		},
		{
			trace.Counters{Journeys: 1, Observations: 1, RingDrops: 7, ConntrackLost: 1, QueueDrops: 2, Unpaired: 3, Evicted: 4, Malformed: 5, Ignored: 6}, 8,
			"1 journey, 1 observation; lost: ring 7, conntrack 1, queue 2; unpaired 3;\n  hidden 8; evicted 4; malformed 5; ignored 6\n",
		},
		{
			trace.Counters{Journeys: 2, Observations: 8, Cut: 3, Undecoded: 1}, 0,
			"2 journeys, 8 observations; lost: ring 0, conntrack 0, queue 0; unpaired 0;\n  cut short 3; conntrack messages not understood 1\n",
		},
		{
			trace.Counters{Journeys: 2, Observations: 8, Traced: 1, TracePaused: 41_260 * time.Millisecond}, 0,
			"2 journeys, 8 observations; lost: ring 0, conntrack 0, queue 0; unpaired 0;\n  traced 1; trace paused 41.3 s, packets were too many\n",
		},
	} {
		if got := (Style{}).Summary(c.counters, c.hidden); got != c.want {
			t.Errorf("Summary:\n%s, want\n%s", got, c.want)
		}
	}
	want := "10 of 14 journeys shown, 66 observations; lost: ring 0, conntrack 0, queue 0;\n  unpaired 0\n"
	if got := (Style{}).SummaryOf(10, trace.Counters{Journeys: 14, Observations: 66}, 0); got != want {
		t.Errorf("SummaryOf:\n%s, want\n%s", got, want)
	}
}

func TestARP(t *testing.T) {
	asks, answers := netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("172.17.0.1")
	a := &trace.ARP{
		Time: 1e9, Namespace: "host", Interface: "docker0", Point: capture.Point{Direction: capture.In},
		Headers: packet.Headers{Layers: packet.LayerEthernet | packet.LayerARP, ARPOperation: 1, Tuple: packet.NewTuple(0, asks, answers, 0, 0)},
	}
	st := Style{Zone: time.UTC}
	if got, want := st.ARP(Detail{}, a), "00:00:01.000000 host docker0 in  ARP who has 172.17.0.1? tell 172.17.0.2\n"; got != want {
		t.Errorf("request: %q, want %q", got, want)
	}
	a.Type = capture.UnknownType
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 ?  ARP who has 172.17.0.1? tell 172.17.0.2\n"; got != want {
		t.Errorf("from a file that tells no direction: %q, want %q", got, want)
	}
	a.Type = capture.Broadcast
	a.Headers.ARPOperation = 2
	a.Headers.Tuple = a.Headers.Tuple.Inverse()
	a.Hardware = [6]byte{2, 0x42, 0xac, 0x11, 0, 1}
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  ARP 172.17.0.1 is at 02:42:ac:11:00:01\n"; got != want {
		t.Errorf("reply: %q, want %q", got, want)
	}
	a.Headers = packet.Headers{Layers: packet.LayerARP | packet.Truncated, ARPOperation: 2}
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  ARP operation 2, cut short before its addresses\n"; got != want {
		t.Errorf("cut: %q, want %q", got, want)
	}
	a.Headers.Layers = packet.LayerARP
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  ARP operation 2, not about IPv4\n"; got != want {
		t.Errorf("of another protocol: %q, want %q", got, want)
	}
	a.Headers = packet.Headers{Layers: packet.LayerIPv6 | packet.LayerICMP, ICMPType: 136}
	a.Target = netip.MustParseAddr("fe80::1")
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  neighbour discovery: fe80::1 is at 02:42:ac:11:00:01\n"; got != want {
		t.Errorf("advertisement: %q, want %q", got, want)
	}
	a.Hardware = [6]byte{}
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  neighbour discovery: fe80::1 is there\n"; got != want {
		t.Errorf("advertisement without a MAC address: %q, want %q", got, want)
	}
	a.Target = netip.Addr{}
	a.Headers = packet.Headers{
		Layers: packet.LayerEthernet | packet.LayerIPv6 | packet.LayerICMP, ICMPType: 135,
		Tuple: packet.NewTuple(packet.ICMPv6, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1:ff00:2"), 0, 135<<8),
	}
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  neighbour solicitation fe80::1 → ff02::1:ff00:2\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	a.Target = netip.MustParseAddr("fe80::2")
	if got, want := st.ARP(Detail{NoTime: true}, a), "host docker0 in  neighbour discovery: who has fe80::2? tell fe80::1\n"; got != want {
		t.Errorf("solicitation: %q, want %q", got, want)
	}
}

func TestMembership(t *testing.T) {
	joined, left := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("239.1.2.3")
	st := Style{Zone: time.UTC}
	for _, c := range []struct {
		kind   packet.MembershipKind
		groups []packet.Membership
		want   string
	}{
		{packet.MembershipReport, []packet.Membership{{Group: joined}, {Group: left, Left: true}}, "IGMP: 172.17.0.2 listens to 224.0.0.251, no longer to 239.1.2.3"},
		{packet.MembershipReport, []packet.Membership{{Group: joined}, {Group: left}}, "IGMP: 172.17.0.2 listens to 224.0.0.251, 239.1.2.3"},
		{packet.MembershipReport, nil, "IGMP: 172.17.0.2 tells which groups it listens to"},
		{packet.MembershipLeave, []packet.Membership{{Group: left, Left: true}}, "IGMP: 172.17.0.2 listens no longer to 239.1.2.3"},
		{packet.MembershipQuery, []packet.Membership{{Group: joined}}, "IGMP: who listens to 224.0.0.251? asks 172.17.0.2"},
		{packet.MembershipQuery, nil, "IGMP: who listens to any group? asks 172.17.0.2"},
		{packet.MembershipOther, nil, "IGMP message from 172.17.0.2 to 224.0.0.22"},
	} {
		a := &trace.ARP{Namespace: "back", Interface: "eth0", Membership: c.kind, Groups: c.groups, Headers: packet.Headers{
			Layers: packet.LayerIPv4, Tuple: packet.NewTuple(packet.IGMP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("224.0.0.22"), 0, 0)}}
		if got, want := st.ARP(Detail{NoTime: true}, a), "back eth0 in  "+c.want+"\n"; strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestChange(t *testing.T) {
	st := Style{Zone: time.UTC}
	for _, c := range []struct {
		change netinfo.Change
		want   string
	}{
		{netinfo.Change{Kind: "container", Action: "came", Name: "back", NamespaceName: "back"}, "00:00:01.000000 container back came\n"},
		{netinfo.Change{Kind: "link", Action: "changed", Name: "eth0", NamespaceName: "back", Detail: "up"}, "00:00:01.000000 link eth0 in back changed: up\n"},
		{netinfo.Change{Kind: "link", Action: "went", Name: "veth0", NamespaceName: "host"}, "00:00:01.000000 link veth0 went\n"},
		{netinfo.Change{Kind: "ruleset", Action: "changed", NamespaceName: "host", Detail: "a rule came"}, "00:00:01.000000 ruleset changed: a rule came\n"},
		{netinfo.Change{Kind: "network", Action: "came", Name: "\x1b[2J"}, "00:00:01.000000 network \\x1b[2J came\n"},
	} {
		if got := st.Change(Detail{}, &c.change, time.Unix(1, 0)); got != c.want {
			t.Errorf("Change = %q, want %q", got, c.want)
		}
	}
}

// What stays is not shown as a change: of an echo whose id was changed with the other
// address, or alone.
func TestChangesOfAnEcho(t *testing.T) {
	a, b, inner := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("172.17.0.4")
	reply := func(destination netip.Addr, id uint16) packet.Tuple {
		return packet.NewTuple(packet.ICMP, a, destination, id, 0)
	}
	for want, after := range map[string]packet.Tuple{"192.0.2.10 => 172.17.0.4": reply(inner, 99), "id 35881 => 99": reply(b, 99)} {
		j := &trace.Journey{Translations: []trace.Translation{{Before: reply(b, 35881), After: after}}}
		if got := (Style{ASCII: true}).changes(j); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
