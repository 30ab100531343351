package trace

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// farIP is a container on a network that isolation keeps apart.
var farIP = netip.MustParseAddr("172.24.0.2")

// redirects is a Ruleset whose only rule sends all that comes in to farIP.
func redirects(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
		{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1,
		 "Rules": [{"Ref": {"Text": "dnat to 172.24.0.2", "Chain": "PREROUTING"}, "Expressions": [
			{"n": "immediate", "r": [0, 1], "h": [false, true], "d": "rBgAAg=="}, {"n": "nat", "k": 1, "fa": 2, "a": 1}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	if m := r.NAT(netfilter.Prerouting, netfilter.Packet{Tuple: echoTuple(backIP, hostIP, 1, false), InLink: "docker0"}); m.To.Addr() != farIP {
		t.Fatalf("the rule is not understood: %+v", m)
	}
	return r
}

// newDropStage is a stage where connections are tracked, of which none is that of
// the test's packets.
func newDropStage(t *testing.T) *stage {
	s := newStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(hostIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	return s
}

const knock = "udp 172.17.0.2:4000 > "

func TestTranslatedThenDropped(t *testing.T) {
	for _, ruled := range []bool{true, false} {
		s := newDropStage(t)
		evidence, kind := "inferred", "dnat"
		if ruled {
			s.c.SetRuleset(redirects(t))
			evidence = "evaluated"
		}
		before, after := udp(t, port(backIP, 4000), port(hostIP, 8000), 3, "hello"), udp(t, port(backIP, 4000), port(farIP, 8000), 3, "hello")
		s.see(backOut, before)
		s.see(vethIn, before)
		s.see(bridgeIn, after)
		s.pass(4 * time.Second)
		s.expect(want{path: "back/eth0:out host/vethback:in host/docker0:in", from: "back", direction: NoDirection, verdict: "dropped by inferred",
			changes: kind + "[1 2] " + knock + "192.0.2.10:8000 => " + knock + "172.24.0.2:8000 [" + evidence + " 0]"})
		j := s.journeys[0]
		if j.Verdict.Hook != netfilter.Forward || (j.Translations[0].Rule != nil) != ruled || len(j.Flows) != 0 {
			t.Errorf("ruled %v: %+v, rule %+v", ruled, j.Verdict, j.Translations[0].Rule)
		}
		if guessed := strings.Contains(strings.Join(j.Notes, ""), "nothing else fits"); guessed == ruled {
			t.Errorf("ruled %v: notes %q", ruled, j.Notes)
		}
	}
}

// A packet for the host's own address that a rule sends on is not dropped at INPUT.
func TestTranslatedBehindTheLastTap(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(redirects(t))
	s.see(uplinkIn, udp(t, port(internetIP, 4000), port(hostIP, 8000), 3, "hello"))
	// No rule is asked about what begins no flow.
	s.see(uplinkIn, frame(t, internetIP, hostIP, 4, 64, &layers.TCP{SrcPort: 4001, DstPort: 8000, Seq: 1, RST: true}))
	s.pass(4 * time.Second)
	s.expect(want{path: "host/eth0:in", direction: NoDirection, verdict: "dropped by inferred",
		changes: "dnat[0 -1] udp 198.51.100.7:4000 > 192.0.2.10:8000 => udp 198.51.100.7:4000 > 172.24.0.2:8000 [evaluated 0]"},
		want{path: "host/eth0:in", to: "host", direction: NoDirection, verdict: "unfinished by tap"})
	if v := s.journeys[0].Verdict; v.Hook != netfilter.Forward {
		t.Errorf("%+v, want at forward", v)
	}
	if r := s.journeys[0].Verdict.Reason; !strings.Contains(r, "a rule sends it to 172.24.0.2") {
		t.Errorf("reason %q", r)
	}
}

// A packet of a flow that is known is translated even if it goes no further.
func TestKnownFlowDroppedBehindTheLastTap(t *testing.T) {
	s := newDropStage(t)
	s.flow(netfilter.New, netfilter.Flow{ID: 7,
		Original: packet.NewTuple(packet.UDP, internetIP, hostIP, 4000, 8000), Reply: packet.NewTuple(packet.UDP, backIP, internetIP, 80, 4000)})
	s.see(uplinkIn, udp(t, port(internetIP, 4000), port(hostIP, 8000), 3, "hello"))
	s.pass(4 * time.Second)
	s.expect(want{path: "host/eth0:in", to: "back", direction: Original, verdict: "vanished by tap",
		changes: "dnat[0 -1] udp 198.51.100.7:4000 > 192.0.2.10:8000 => udp 198.51.100.7:4000 > 172.17.0.2:80 [conntrack 7]"})
}

// That there is no entry for what never gets one is no sign of a drop: answers to who
// had the address before, late resets.
func TestWhatBeginsNoFlowIsNotCalledDropped(t *testing.T) {
	tcp := func(flags uint8) *layers.TCP {
		l := &layers.TCP{SrcPort: 80, DstPort: 4000, Seq: 1}
		l.SYN, l.ACK, l.RST, l.FIN = flags&packet.SYN != 0, flags&packet.ACK != 0, flags&packet.RST != 0, flags&packet.FIN != 0
		return l
	}
	const unknown, dropped = "unfinished: it came to host; whether a rule dropped it there is unknown: it belongs to no flow", "dropped: connection tracking never confirmed it"
	for name, c := range map[string]struct {
		frame []byte
		want  string
	}{
		"echo reply":   {ping(t, internetIP, hostIP, 5, 1, true), unknown},
		"reset":        {frame(t, internetIP, hostIP, 1, 64, tcp(packet.RST)), unknown},
		"late FIN":     {frame(t, internetIP, hostIP, 1, 64, tcp(packet.FIN|packet.ACK)), unknown},
		"SYN ACK":      {frame(t, internetIP, hostIP, 1, 64, tcp(packet.SYN|packet.ACK)), unknown},
		"echo request": {ping(t, internetIP, hostIP, 5, 1, false), dropped},
		"SYN":          {frame(t, internetIP, hostIP, 1, 64, tcp(packet.SYN)), dropped},
		"segment":      {frame(t, internetIP, hostIP, 1, 64, tcp(packet.ACK)), dropped}, // nf_conntrack_tcp_loose
	} {
		s := newDropStage(t)
		s.see(uplinkIn, c.frame)
		s.pass(4 * time.Second)
		if got := s.verdicts(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The kernel gives the number of a namespace that went to the next one: what was
// known of the first's connection tracking is not true of the second.
func TestNextNamespaceWithTheSameNumber(t *testing.T) {
	s := newDropStage(t)
	s.c.Forget(hostNS, s.now)
	s.c.Watch(hostNS, s.now)
	s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 80), 1, "x"))
	s.pass(4 * time.Second)
	if got := s.verdicts(); strings.Contains(got, "dropped") {
		t.Errorf("%s: nothing says that connections are tracked there", got)
	}
}

// Connection tracking is read up to some moment, and a packet can be seen just before
// it whose flow is confirmed just behind it.
func TestFlowThatIsToldOfBetweenTwoHops(t *testing.T) {
	for name, c := range map[string]struct {
		in, out       at
		before, after [2]netip.AddrPort
	}{
		"masquerade": {bridgeIn, uplinkOut, [2]netip.AddrPort{port(backIP, 40000), port(internetIP, 53)}, [2]netip.AddrPort{port(hostIP, 40000), port(internetIP, 53)}},
		"hairpin":    {vethIn, vethOut, [2]netip.AddrPort{port(backIP, 40000), port(hostIP, 8000)}, [2]netip.AddrPort{port(gatewayIP, 40000), port(backIP, 80)}},
	} {
		s := newStage(t)
		s.see(c.in, udp(t, c.before[0], c.before[1], 7, "question"))
		s.pass(time.Microsecond)
		s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: udpTuple(c.before[0], c.before[1]), Reply: udpTuple(c.after[1], c.after[0])})
		s.see(c.out, udp(t, c.after[0], c.after[1], 7, "question"))
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.journeys[0].Direction != Original || len(s.journeys[0].Translations) == 0 {
			t.Errorf("%s: %d journeys, want 1: %s", name, len(s.journeys), s.verdicts())
		}
	}
}
