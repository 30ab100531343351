package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Of two equal packets one was sent while nobody watched where it went. What
// comes out there later is the other.
func TestEqualPacketsAroundALateRing(t *testing.T) {
	s := newStage(t)
	s.c.Watch(backNS, s.now+int64(50*time.Millisecond))
	d := udp(t, port(gatewayIP, 1), port(backIP, 53), 0, "again")
	s.see(bridgeOut, d)
	s.see(vethOut, d)
	s.pass(100 * time.Millisecond)
	s.see(bridgeOut, d)
	s.see(vethOut, d)
	s.see(backIn, d)
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	out := want{path: "host/docker0:out host/vethback:out", from: "host", to: "back", direction: NoDirection, verdict: "left by tap"}
	arrived := want{path: "host/docker0:out host/vethback:out back/eth0:in", from: "host", to: "back", direction: NoDirection, verdict: "delivered by tap"}
	s.expect(out, arrived)
	if j := s.journeys[1]; j.Supersedes != 0 || len(j.Related) != 1 || j.Related[0] != (Relation{ID: s.journeys[0].ID, Why: "duplicate_of"}) {
		t.Errorf("the second amends #%d and is related to %v", j.Supersedes, j.Related)
	}
}

// A hop at a container that is not watched yet is missing for that reason, and
// not because the packet was dropped.
func TestContainerSideNotWatchedYet(t *testing.T) {
	s := newStage(t)
	s.c.Watch(backNS, s.now+int64(time.Second))
	out, in := udp(t, port(backIP, 1), port(baseIP, 53), 1, "out"), udp(t, port(baseIP, 53), port(backIP, 1), 2, "in")
	s.see(vethIn, out)
	s.see(baseVOut, out)
	s.see(baseIn, out)
	s.see(baseOut, in)
	s.see(baseVIn, in)
	s.see(vethOut, in)
	s.pass(4 * time.Second)
	s.expect(
		want{path: "host/vethback:in host/vethbase:out database/eth0:in", from: "back", to: "database", direction: NoDirection, verdict: "delivered by tap"},
		want{path: "database/eth0:out host/vethbase:in host/vethback:out", from: "database", to: "back", direction: NoDirection, verdict: "left by tap"},
	)
	for _, j := range s.journeys {
		if len(j.Notes) != 1 || j.Notes[0] != "container side not watched yet: back" {
			t.Errorf("%s: notes %q", path(j), j.Notes)
		}
	}
}

// request sees a ping of the first container's address on its way out.
func (s *stage) request(seq uint16, out, in at) {
	p := ping(s.t, backIP, internetIP, 7, seq, false)
	s.see(out, p)
	s.see(in, p)
	s.see(bridgeIn, p)
	s.see(uplinkOut, ping(s.t, hostIP, internetIP, 7, seq, false))
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
}

const backBecomesHost = "snat[2 3] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 "

// pingFlow is that of request.
var pingFlow = netfilter.Flow{ID: 9, Namespace: hostNS, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)}

// The name is that of the container which had the address when the packet passed.
func TestAddressOfTheNextContainer(t *testing.T) {
	const nextNS, vethNext = 99, 44
	s := newStage(t)
	s.flow(netfilter.Known, pingFlow)
	s.request(1, backOut, vethIn)

	w := world()
	next := w.Namespace(backNS)
	next.ID, next.Name = nextNS, "next"
	next.Containers[0].Name, next.Containers[0].Namespace = "next", nextNS
	inside := next.Links[0]
	inside.Key.Namespace, inside.Peer = nextNS, &netinfo.Peer{Key: netinfo.LinkKey{Namespace: hostNS, Index: vethNext}, Name: "vethnext"}
	for _, l := range w.Namespaces[0].Links {
		if l.Key.Index == vethBack {
			l.Key.Index, l.Name, l.Peer = vethNext, "vethnext", &netinfo.Peer{Key: inside.Key, Name: "eth0"}
		}
	}
	w.Time = time.Unix(0, s.now)
	s.c.SetTopology(w.Seal())
	s.c.Forget(backNS, s.now)
	s.c.Watch(nextNS, s.now)
	s.request(2, at{nextNS, eth0, capture.Outgoing}, at{hostNS, vethNext, capture.OtherHost})
	s.expect(want{path: outPath, from: "back", direction: Original, verdict: "left by tap", changes: backBecomesHost + "[conntrack 9]"},
		want{path: "next/eth0:out host/vethnext:in host/docker0:in host/eth0:out", from: "next", direction: Original, verdict: "left by tap",
			changes: backBecomesHost + "[conntrack 9]"})
}

// Events were lost, so a flow is unknown until a dump tells of it.
func TestLostEventIsMadeGoodByADump(t *testing.T) {
	s := newStage(t)
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Overruns: 1, Lost: 3})
	s.request(1, backOut, vethIn)
	s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Synced: true, SyncedSince: s.now - 1e6, Events: []netfilter.Event{
		{Kind: netfilter.Known, Flow: pingFlow, After: s.now - 1e6, Before: s.now},
	}})
	s.request(2, backOut, vethIn)
	s.expect(want{path: outPath, from: "back", direction: NoDirection, verdict: "left by tap", changes: backBecomesHost + "[inferred 0]"},
		want{path: outPath, from: "back", direction: Original, verdict: "left by tap", changes: backBecomesHost + "[conntrack 9]"})
	if notes := s.journeys[0].Notes; len(notes) != 1 || notes[0] != "no conntrack entry known: hops joined because nothing else fits" {
		t.Errorf("notes %q", notes)
	}
}

// Where the kernel tells of no flow that begins, that there is none proves no drop.
func TestSilentConntrackProvesNoDrop(t *testing.T) {
	for _, silent := range []bool{true, false} {
		s := newStage(t)
		s.flow(netfilter.Known, pingFlow)
		s.c.AddFlows(&netfilter.Batch{Namespace: hostNS, Through: s.now, Synced: true, Silent: silent})
		s.see(uplinkIn, udp(t, port(internetIP, 5), port(hostIP, 80), 1, "x"))
		s.pass(4 * time.Second)
		want := "dropped: "
		if silent {
			want = "unfinished: it came to host; whether a rule dropped it there is unknown: "
		}
		if got := s.verdicts(); !strings.HasPrefix(got, want) || silent != strings.Contains(got, "nf_conntrack_events = 0") {
			t.Errorf("silent %v: %s", silent, got)
		}
	}
}

// That a flow began unseen is said of those alone of which the table told, once for
// each direction.
func TestFlowThatBeganUnseen(t *testing.T) {
	for kind, want := range map[netfilter.EventKind][]int{netfilter.Known: {1, 0}, netfilter.New: {0, 0}} {
		s := newStage(t)
		s.c.SetRuleset(masquerades(t))
		s.flow(kind, pingFlow)
		s.request(1, backOut, vethIn)
		s.request(2, backOut, vethIn)
		if len(s.journeys) != 2 {
			t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
		}
		for i, j := range s.journeys {
			if len(j.Notes) != want[i] || want[i] == 1 && j.Notes[0] != notBegun {
				t.Errorf("%v, packet %d: notes %q", kind, i, j.Notes)
			}
		}
	}
}

// What is seen first on its way out need not have been sent there: where it came in may
// have been so long before that it was taken for lost, or no ring was there.
func TestWhoseIsSeenFirstOnItsWayOut(t *testing.T) {
	for name, c := range map[string]struct {
		source netip.Addr
		want   string
	}{"a container's": {backIP, "back"}, "its own": {hostIP, "host"}, "nobody's that is known": {internetIP, ""}} {
		s := newStage(t)
		if c.source == backIP {
			s.flow(netfilter.Known, netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.UDP, backIP, internetIP, 5, 9), Reply: packet.NewTuple(packet.UDP, internetIP, hostIP, 9, 5)})
			c.source = hostIP // behind masquerade
		}
		s.see(uplinkOut, udp(t, port(c.source, 5), port(internetIP, 9), 7, "x"))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if j := sole(t, s); j.From.Name != c.want {
			t.Errorf("%s: sent by %q, want %q", name, j.From.Name, c.want)
		}
	}
}
