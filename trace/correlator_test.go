package trace

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// path writes a journey the way a person reads it.
func path(j *Journey) string {
	var b strings.Builder
	for i, h := range j.Hops {
		if i > 0 {
			b.WriteString(" ")
		}
		if i > 0 && h.From != i-1 {
			fmt.Fprintf(&b, "(from %d) ", h.From)
		}
		fmt.Fprintf(&b, "%s/%s:%s", h.Namespace, h.Interface, h.Point.Direction)
	}
	return b.String()
}

func changes(j *Journey) string {
	var out []string
	for _, t := range j.Translations {
		undo := ""
		if t.Undo {
			undo = "undo "
		}
		out = append(out, fmt.Sprintf("%s%s%v %s => %s [%s %d]", undo, t.Kind, t.Between, t.Before, t.After, t.Evidence, t.ConntrackID))
	}
	return strings.Join(out, "; ")
}

type want struct {
	path, changes, verdict string
	from, to               string
	direction              FlowDirection
}

func (s *stage) expect(wants ...want) {
	s.t.Helper()
	if len(s.journeys) != len(wants) {
		for _, j := range s.journeys {
			s.t.Logf("  %s | %s | %+v", path(j), changes(j), j.Verdict)
		}
		s.t.Fatalf("%d journeys, want %d", len(s.journeys), len(wants))
	}
	for i, w := range wants {
		j := s.journeys[i]
		check := func(what, got, want string) {
			s.t.Helper()
			if got != want {
				s.t.Errorf("journey %d: %s\n got %s\nwant %s", i, what, got, want)
			}
		}
		check("path", path(j), w.path)
		check("changes", changes(j), w.changes)
		check("verdict", fmt.Sprintf("%s by %s", j.Verdict.Result, j.Verdict.Evidence), w.verdict)
		check("from", j.From.Name, w.from)
		check("to", j.To.Name, w.to)
		check("direction", string(j.Direction), string(w.direction))
	}
}

const (
	outPath  = "back/eth0:out host/vethback:in host/docker0:in host/eth0:out"
	backPath = "host/eth0:in host/docker0:out host/vethback:out back/eth0:in"
)

func TestPingThroughMasquerade(t *testing.T) {
	s := newStage(t)
	inner, outer := ping(t, backIP, internetIP, 7, 1, false), ping(t, hostIP, internetIP, 7, 1, false)
	s.see(backOut, inner)
	s.see(vethIn, inner)
	s.see(bridgeIn, inner)
	s.see(uplinkOut, outer)
	s.flow(netfilter.New, netfilter.Flow{ID: 99, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)})
	answer, inside := ping(t, internetIP, hostIP, 7, 1, true), ping(t, internetIP, backIP, 7, 1, true)
	s.see(uplinkIn, answer)
	s.see(bridgeOut, inside)
	s.see(vethOut, inside)
	s.see(backIn, inside)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: outPath, from: "back", to: "", direction: Original, verdict: "left by tap",
		changes: "snat[2 3] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 99]",
	}, want{
		path: backPath, from: "", to: "back", direction: Reply, verdict: "delivered by tap",
		changes: "undo snat[0 1] icmp 198.51.100.7 > 192.0.2.10 => icmp 198.51.100.7 > 172.17.0.2 [conntrack 99]",
	})
	if r := s.journeys[1].Related; len(r) != 1 || r[0] != (Relation{ID: s.journeys[0].ID, Why: "reply_to"}) {
		t.Errorf("the reply is related to %v", r)
	}
}

func TestEqualPingsOfTwoContainers(t *testing.T) {
	s := newStage(t)
	// One id, one sequence number, one payload: only flows and veths differ,
	// and the kernel has changed the second one's id.
	a, b := ping(t, backIP, internetIP, 7, 1, false), ping(t, baseIP, internetIP, 7, 1, false)
	s.see(backOut, a)
	s.see(baseOut, b)
	s.see(baseVIn, b)
	s.see(vethIn, a)
	s.see(bridgeIn, a)
	s.see(bridgeIn, b)
	s.see(uplinkOut, ping(t, hostIP, internetIP, 1024, 1, false))
	s.see(uplinkOut, ping(t, hostIP, internetIP, 7, 1, false))
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)})
	s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: echoTuple(baseIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 1024, true)})
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: "database/eth0:out host/vethbase:in host/docker0:in host/eth0:out", from: "database", direction: Original, verdict: "left by tap",
		changes: "snat[2 3] icmp 172.17.0.3 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 2]",
	}, want{
		path: outPath, from: "back", direction: Original, verdict: "left by tap",
		changes: "snat[2 3] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 1]",
	})
}

func port(a netip.Addr, p uint16) netip.AddrPort { return netip.AddrPortFrom(a, p) }

func udpTuple(source, destination netip.AddrPort) packet.Tuple {
	return packet.NewTuple(packet.UDP, source.Addr(), destination.Addr(), source.Port(), destination.Port())
}

func TestPublishedPort(t *testing.T) {
	s := newStage(t)
	client := port(internetIP, 5555)
	s.flow(netfilter.New, netfilter.Flow{ID: 5, Original: udpTuple(client, port(hostIP, 8000)), Reply: udpTuple(port(backIP, 80), client)})
	s.see(uplinkIn, udp(t, client, port(hostIP, 8000), 0, "hello"))
	in := udp(t, client, port(backIP, 80), 0, "hello")
	s.see(bridgeOut, in)
	s.see(vethOut, in)
	s.see(backIn, in)
	// The answer is equal to the letter, id 0 included.
	out := udp(t, port(backIP, 80), client, 0, "hello")
	s.see(backOut, out)
	s.see(vethIn, out)
	s.see(bridgeIn, out)
	s.see(uplinkOut, udp(t, port(hostIP, 8000), client, 0, "hello"))
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: backPath, from: "", to: "back", direction: Original, verdict: "delivered by tap",
		changes: "dnat[0 1] udp 198.51.100.7:5555 > 192.0.2.10:8000 => udp 198.51.100.7:5555 > 172.17.0.2:80 [conntrack 5]",
	}, want{
		path: outPath, from: "back", to: "", direction: Reply, verdict: "left by tap",
		changes: "undo dnat[2 3] udp 172.17.0.2:80 > 198.51.100.7:5555 => udp 192.0.2.10:8000 > 198.51.100.7:5555 [conntrack 5]",
	})
}

func TestBridgedTraffic(t *testing.T) {
	s := newStage(t)
	question := udp(t, port(backIP, 1), port(baseIP, 53), 0, "same words")
	answer := udp(t, port(baseIP, 53), port(backIP, 1), 0, "same words")
	for range 2 { // the very same bytes a second time are a second journey
		s.see(backOut, question)
		s.see(vethIn, question)
		s.see(baseVOut, question)
		s.see(baseIn, question)
		s.see(baseOut, answer)
		s.see(baseVIn, answer)
		s.see(vethOut, answer)
		s.see(backIn, answer)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	there := want{path: "back/eth0:out host/vethback:in host/vethbase:out database/eth0:in", from: "back", to: "database", direction: NoDirection, verdict: "delivered by tap"}
	back := want{path: "database/eth0:out host/vethbase:in host/vethback:out back/eth0:in", from: "database", to: "back", direction: NoDirection, verdict: "delivered by tap"}
	s.expect(there, back, there, back)
	if r := s.journeys[2].Related; len(r) != 1 || r[0] != (Relation{ID: s.journeys[0].ID, Why: "duplicate_of"}) {
		t.Errorf("the repetition is related to %v", r)
	}
}

func TestIdenticalDatagramsInterleaved(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(backIP, 1), port(baseIP, 53), 0, "again")
	const n = 20
	for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		for range n {
			s.see(where, d)
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != n {
		t.Fatalf("%d journeys, want %d", len(s.journeys), n)
	}
	for i, j := range s.journeys {
		if got, want := path(j), "back/eth0:out host/vethback:in host/vethbase:out database/eth0:in"; got != want {
			t.Fatalf("journey %d: %s", i, got)
		}
		for k := 1; k < len(j.Hops); k++ {
			if got := j.Hops[k].Time - j.Hops[k-1].Time; got != n*1000 {
				t.Fatalf("journey %d, hop %d: joined with another packet, %d ns apart", i, k, got)
			}
		}
	}
}

func TestLocalhostTranslatedBeforeTheFirstTap(t *testing.T) {
	s := newStage(t)
	localhost := netip.MustParseAddr("127.0.0.1")
	s.flow(netfilter.New, netfilter.Flow{ID: 8, Original: udpTuple(port(localhost, 4000), port(localhost, 8000)),
		Reply: udpTuple(port(backIP, 80), port(gatewayIP, 4000))})
	out := udp(t, port(gatewayIP, 4000), port(backIP, 80), 1, "x")
	s.see(bridgeOut, out)
	s.see(vethOut, out)
	s.see(backIn, out)
	answer := udp(t, port(backIP, 80), port(gatewayIP, 4000), 2, "y")
	s.see(backOut, answer)
	s.see(vethIn, answer)
	s.see(bridgeIn, udp(t, port(backIP, 80), port(localhost, 4000), 2, "y")) // half translated
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: "host/docker0:out host/vethback:out back/eth0:in", from: "host", to: "back", direction: Original, verdict: "delivered by tap",
		changes: "dnat[-1 0] udp 127.0.0.1:4000 > 127.0.0.1:8000 => udp 127.0.0.1:4000 > 172.17.0.2:80 [conntrack 8]; " +
			"snat[-1 0] udp 127.0.0.1:4000 > 172.17.0.2:80 => udp 172.17.0.1:4000 > 172.17.0.2:80 [conntrack 8]",
	}, want{
		path: "back/eth0:out host/vethback:in host/docker0:in", from: "back", to: "host", direction: Reply, verdict: "delivered by tap",
		changes: "undo snat[1 2] udp 172.17.0.2:80 > 172.17.0.1:4000 => udp 172.17.0.2:80 > 127.0.0.1:4000 [conntrack 8]; " +
			"undo dnat[2 -1] udp 172.17.0.2:80 > 127.0.0.1:4000 => udp 127.0.0.1:8000 > 127.0.0.1:4000 [conntrack 8]",
	})
	half := "half translated at docker0: the destination is 127.0.0.1 again, which asked; the source, 172.17.0.2:80, becomes what was asked, 127.0.0.1:8000, behind this tap"
	if len(s.journeys[0].Notes) != 0 || len(s.journeys[1].Notes) != 1 || s.journeys[1].Notes[0] != half {
		t.Errorf("notes %q and %q, want none and %q", s.journeys[0].Notes, s.journeys[1].Notes, half)
	}
}

func TestDroppedByIsolation(t *testing.T) {
	s := newStage(t)
	// Something else is tracked, so the absence of an entry means something.
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(hostIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
	syn := udp(t, port(backIP, 1), port(netip.MustParseAddr("172.24.0.2"), 8000), 3, "hello")
	s.see(backOut, syn)
	s.see(vethIn, syn)
	s.see(bridgeIn, syn)
	s.pass(time.Second)
	if len(s.journeys) != 0 {
		t.Fatal("settled before neighbour resolution could have failed")
	}
	s.pass(3 * time.Second)
	s.expect(want{path: "back/eth0:out host/vethback:in host/docker0:in", from: "back", direction: NoDirection, verdict: "dropped by inferred"})
}

func TestLossMakesVanishedUnknown(t *testing.T) {
	s := newStage(t)
	syn := udp(t, port(backIP, 1), port(netip.MustParseAddr("172.24.0.2"), 8000), 3, "hello")
	s.see(backOut, syn)
	s.pass(time.Second)
	s.lose(5)
	s.pass(3 * time.Second)
	s.expect(want{path: "back/eth0:out", from: "back", direction: NoDirection, verdict: "unfinished by tap"})
	if r := s.journeys[0].Verdict.Reason; r != "unknown: ring lost 5" {
		t.Errorf("reason %q", r)
	}
}

func TestLateHopAmends(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(backIP, 1), port(baseIP, 53), 9, "x")
	s.see(backOut, d)
	s.see(vethIn, d)
	late := s.now + 500
	s.now = late
	s.see(baseIn, d)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	now := s.now
	s.now = late
	s.see(baseVOut, d)
	s.now = now
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) != 2 {
		t.Fatalf("%d records, want the journey and its amendment", len(s.journeys))
	}
	a, b := s.journeys[0], s.journeys[1]
	if b.Supersedes != a.ID || b.ID == a.ID {
		t.Errorf("record %d supersedes %d, want %d", b.ID, b.Supersedes, a.ID)
	}
	if len(a.Hops) != 3 || len(b.Hops) != 4 {
		t.Errorf("%d and %d hops, want 3 and 4", len(a.Hops), len(b.Hops))
	}
}

func TestFloodHasBranches(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(gatewayIP, 1), port(baseIP, 53), 9, "x")
	s.see(bridgeOut, d)
	s.see(vethOut, d)
	other := backIn
	other.typ = 3 // OtherHost
	s.see(other, d)
	s.see(baseVOut, d)
	s.see(baseIn, d)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{
		path: "host/docker0:out host/vethback:out back/eth0:in (from 0) host/vethbase:out database/eth0:in",
		from: "host", to: "database", direction: NoDirection, verdict: "delivered by tap",
	})
	const note = "flooded: docker0 did not know behind which port 02:00:00:00:00:02 is, so back got it, too, and ignored it"
	if got := s.journeys[0].Notes; len(got) != 1 || got[0] != note {
		t.Errorf("notes %q, want %q", got, note)
	}
}

func TestFloodThatNobodyTakes(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(gatewayIP, 1), port(netip.MustParseAddr("172.17.0.9"), 53), 9, "x")
	s.see(bridgeOut, d)
	for _, where := range []at{vethOut, backIn, baseVOut, baseIn} {
		if where.typ == capture.Host {
			where.typ = capture.OtherHost
		}
		s.see(where, d)
	}
	s.pass(4 * time.Second)
	s.expect(want{
		path: "host/docker0:out host/vethback:out back/eth0:in (from 0) host/vethbase:out database/eth0:in",
		from: "host", direction: NoDirection, verdict: "flooded by tap",
	})
	const reason = "docker0 did not know behind which port 02:00:00:00:00:02 is and sent it out by 2; it came to back and database, whose MAC address is another, so nobody took it"
	if got := s.journeys[0].Verdict.Reason; got != reason {
		t.Errorf("reason %q, want %q", got, reason)
	}
}

// Of a port whose other end saw nothing it is not known that nobody took it there.
func TestFloodOfWhichOneEndIsNotSeen(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(gatewayIP, 1), port(netip.MustParseAddr("172.17.0.9"), 53), 9, "x")
	s.see(bridgeOut, d)
	s.see(vethOut, d)
	s.see(at{backNS, eth0, capture.OtherHost}, d)
	s.see(baseVOut, d)
	s.pass(4 * time.Second)
	if got := s.verdicts(); len(s.journeys) != 1 || s.journeys[0].Verdict.Result != Vanished {
		t.Errorf("%d journeys: %s", len(s.journeys), got)
	}
}

// One receiver that doesn't take a frame is no flood.
func TestFrameForAnotherMAC(t *testing.T) {
	s := newStage(t)
	d := udp(t, port(gatewayIP, 1), port(baseIP, 53), 9, "x")
	s.see(bridgeOut, d)
	s.see(baseVOut, d)
	other := baseIn
	other.typ = capture.OtherHost
	s.see(other, d)
	s.pass(4 * time.Second)
	if v := s.journeys[0].Verdict; v.Result != Vanished || v.Reason != "its MAC address is another's: not accepted here" {
		t.Errorf("verdict %+v", v)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	s := newStage(t)
	s.c = New(256, Sink{Journey: func(j *Journey) { s.journeys = append(s.journeys, j) }})
	s.c.SetTopology(world())
	s.c.Watch(hostNS, 1)
	s.c.Watch(backNS, 1)
	for i := range 1000 {
		s.see(backOut, udp(t, port(backIP, 1), port(netip.MustParseAddr("172.24.0.2"), 8000), uint16(i), "x"))
	}
	s.pass(10 * time.Millisecond)
	if open := s.c.Open(); open > 256 {
		t.Errorf("%d journeys open, want at most 256", open)
	}
	if n := s.c.Counters().Evicted; n != 1000-256 {
		t.Errorf("%d evicted, want %d", n, 1000-256)
	}
	s.c.Flush()
	if len(s.journeys) != 1000 {
		t.Errorf("%d journeys shown, want all 1000", len(s.journeys))
	}
}
