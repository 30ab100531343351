package trace

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// choosesZones is a Ruleset that puts what comes in by links into zones, for both
// directions or for one, and masquerades all that leaves.
func choosesZones(t *testing.T, by map[string]netfilter.Zones) *netfilter.Ruleset {
	t.Helper()
	var rules []string
	for _, link := range slices.Sorted(maps.Keys(by)) {
		zone, direction := by[link][0], ""
		switch z := by[link]; {
		case z[0] != z[1] && z[1] == 0:
			direction = `, "ho": true`
		case z[0] != z[1]:
			zone, direction = z[1], `, "ho": true, "op": 1`
		}
		name := make([]byte, 16)
		copy(name, link)
		rules = append(rules, fmt.Sprintf(`{"Ref": {"Text": "ct zone set"}, "Expressions": [
			{"n": "meta", "k": 6, "r": [0, 1], "h": [false, true]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": %q},
			{"n": "immediate", "r": [0, 1], "h": [false, true], "d": %q}, {"n": "ct", "k": 17, "r": [1, 0], "h": [true, false]%s}]}`,
			base64.StdEncoding.EncodeToString(name), base64.StdEncoding.EncodeToString(binary.NativeEndian.AppendUint16(nil, zone)), direction))
	}
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Time": 1, "Whole": true, "Base": [[0, 0], [1, 0]], "Tables": [
		{"Family": "ip", "Name": "raw", "Chains": [{"Name": "PREROUTING", "Base": true, "Type": "filter", "Hook": "prerouting", "Priority": -300, "Policy": 1,
			"Rules": [%s]}]},
		{"Family": "ip", "Name": "nat", "Chains": [{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1,
			"Rules": [{"Ref": {"Text": "masquerade"}, "Expressions": [{"n": "masq"}]}]}]}]}`, strings.Join(rules, ",")), r); err != nil {
		t.Fatal(err)
	}
	for link, want := range by {
		p := netfilter.Packet{Tuple: echoTuple(backIP, internetIP, 1, false), InLink: link}
		if got, ok := r.Zones(netfilter.Prerouting, p); !ok || got != want || !r.SetsZones() {
			t.Fatalf("the rules are not understood: %s: %v", link, got)
		}
	}
	return r
}

// echoFlow is a masqueraded ping, of which the zones are those.
func echoFlow(z netfilter.Zones) netfilter.Flow {
	return netfilter.Flow{
		ID: 9, Zone: z[0], ReplyZone: z[1], Status: netfilter.SrcNAT | netfilter.Confirmed,
		Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true),
	}
}

// An answer finds the entry of its question only where both are looked up in one zone,
// as the answer's direction goes.
func TestAnswersAreLookedUpInTheirZone(t *testing.T) {
	none, five := netfilter.Zones{}, netfilter.Zones{5, 5}
	for what, c := range map[string]struct {
		rules map[string]netfilter.Zones
		flow  netfilter.Zones
		note  string // empty: it is translated back
	}{
		"both":                  {map[string]netfilter.Zones{"docker0": five, "eth0": five}, five, ""},
		"the question alone":    {map[string]netfilter.Zones{"docker0": five}, five, "no rule puts what comes in by eth0 into that zone, so it is looked up in zone 0"},
		"the answer alone":      {map[string]netfilter.Zones{"eth0": five}, none, "a rule puts what comes in by eth0 into zone 5, so it is looked up there"},
		"two zones":             {map[string]netfilter.Zones{"docker0": five, "eth0": {6, 6}}, five, "a rule puts what comes in by eth0 into zone 6, so it is looked up there"},
		"original direction":    {map[string]netfilter.Zones{"docker0": {5, 0}}, netfilter.Zones{5, 0}, ""},
		"reply direction":       {map[string]netfilter.Zones{"docker0": {0, 5}}, netfilter.Zones{0, 5}, "no rule puts what comes in by eth0 into that zone, so it is looked up in zone 0"},
		"one zone, by two ways": {map[string]netfilter.Zones{"docker0": {0, 5}, "eth0": five}, netfilter.Zones{0, 5}, ""},
		"not by these rules":    {nil, five, ""}, // by Open vSwitch, say
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			s.c.SetRuleset(choosesZones(t, c.rules))
			s.flow(netfilter.New, echoFlow(c.flow))
			s.masqueraded(1)
			s.pass(50 * time.Millisecond)
			back, inner := ping(t, internetIP, hostIP, 7, 1, true), ping(t, internetIP, backIP, 7, 1, true)
			s.see(uplinkIn, back)
			if c.note == "" {
				for _, where := range []at{bridgeOut, vethOut, backIn} {
					s.see(where, inner)
				}
			}
			s.pass(50 * time.Millisecond)
			s.pass(50 * time.Millisecond)
			asked := want{path: "back/eth0:out host/vethback:in host/docker0:in host/eth0:out", from: "back", direction: Original, verdict: "left by tap",
				changes: "masquerade[2 3] icmp 172.17.0.2 > 198.51.100.7 => icmp 192.0.2.10 > 198.51.100.7 [conntrack 9]"}
			answered := want{path: "host/eth0:in host/docker0:out host/vethback:out back/eth0:in", to: "back", direction: Reply, verdict: "delivered by tap",
				changes: "undo masquerade[0 1] icmp 198.51.100.7 > 192.0.2.10 => icmp 198.51.100.7 > 172.17.0.2 [conntrack 9]"}
			if c.note != "" {
				answered = want{path: "host/eth0:in", to: "host", direction: NoDirection, verdict: "delivered by tap"}
			}
			s.expect(asked, answered)
			note := ""
			if j := s.journeys[1]; c.note != "" {
				note = fmt.Sprintf("it answers conntrack 9, an entry of zone %d; %s, finds no entry and is not translated back", c.flow[1], c.note)
				if len(j.Flows) != 0 || len(j.Related) != 0 {
					t.Errorf("of %v, related to %v", j.Flows, j.Related)
				}
			}
			if got := strings.Join(s.journeys[1].Notes, "; "); got != note {
				t.Errorf("notes %q\nwant  %q", got, note)
			}
		})
	}
}

// A datagram that answers in another zone begins a flow there, with the same addresses:
// what the host says to it is of that one, and the next question of the first.
func TestAnswerThatBeginsAFlowInItsZone(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 5}}))
	inside, outside, server := port(backIP, 4000), port(hostIP, 4000), port(internetIP, 7)
	s.flow(netfilter.New, netfilter.Flow{ID: 9, Zone: 5, ReplyZone: 5, Original: udpTuple(inside, server), Reply: udpTuple(server, outside)})
	ask := func(id uint16) {
		for _, where := range []at{backOut, vethIn, bridgeIn} {
			s.see(where, udp(t, inside, server, id, "question"))
		}
		s.see(uplinkOut, udp(t, outside, server, id, "question"))
		s.pass(50 * time.Millisecond)
	}
	ask(1)
	s.flow(netfilter.New, netfilter.Flow{ID: 10, Original: udpTuple(server, outside), Reply: udpTuple(outside, server)})
	s.see(uplinkIn, udp(t, server, outside, 2, "answer"))
	s.pass(50 * time.Millisecond)
	s.see(uplinkOut, udp(t, outside, server, 3, "what the host says to that"))
	s.pass(50 * time.Millisecond)
	ask(4)
	s.pass(50 * time.Millisecond)
	var got []string
	for _, j := range s.journeys {
		line := fmt.Sprint(path(j), " ", j.Direction, " of")
		for _, f := range j.Flows {
			line += fmt.Sprint(" ", f.ID)
		}
		got = append(got, fmt.Sprint(line, ", ", len(j.Translations), " translated"))
	}
	const out = "back/eth0:out host/vethback:in host/docker0:in host/eth0:out original of 9, 1 translated"
	if want := []string{out, "host/eth0:in original of 10, 0 translated", "host/eth0:out reply of 10, 0 translated", out}; !slices.Equal(got, want) {
		t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
	const note = "it answers conntrack 9, an entry of zone 5; no rule puts what comes in by eth0 into that zone, so it is looked up in zone 0, has a flow of its own there and is not translated back"
	if j := s.journeys[1]; strings.Join(j.Notes, "; ") != note || j.Verdict.Evidence != ByConntrack {
		t.Errorf("%q, %+v", j.Notes, j.Verdict)
	}
}

// tenants is the world with each container on a bridge of its own, and both with one
// address.
func tenants() *netinfo.Topology {
	w := world()
	other := netinfo.LinkKey{Namespace: hostNS, Index: 77}
	host := w.Namespace(hostNS)
	host.Links = append(host.Links, &netinfo.Link{Key: other, Name: "docker1", Kind: "bridge", Role: netinfo.RoleBridge})
	for _, l := range host.Links {
		if l.Name == "vethbase" {
			l.Master = &other
		}
	}
	w.Namespace(baseNS).Links[0].Addresses = []netip.Prefix{netip.PrefixFrom(backIP, 16)}
	return w.Seal()
}

// Two containers with one address ask one server from one port: their entries have one
// tuple in two zones, and what each becomes is its own.
func TestEqualTuplesInTwoZones(t *testing.T) {
	inside, server := port(backIP, 4000), port(internetIP, 7)
	outside := []netip.AddrPort{port(hostIP, 4000), port(hostIP, 30768)}
	for _, known := range []bool{true, false} { // if not, what it became tells
		s := newStage(t)
		s.c.SetTopology(tenants())
		if known {
			s.c.SetRuleset(choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 0}, "docker1": {6, 0}}))
		}
		for i := range outside {
			s.flow(netfilter.New, netfilter.Flow{ID: uint32(5 + i), Zone: uint16(5 + i), Original: udpTuple(inside, server), Reply: udpTuple(server, outside[i])})
		}
		ways := [][]at{{backOut, vethIn, bridgeIn}, {baseOut, baseVIn, {hostNS, 77, capture.Host}}}
		for round := range 2 {
			for i, way := range ways {
				id := uint16(1 + 2*round + i)
				for _, where := range way {
					s.see(where, udp(t, inside, server, id, "question"))
				}
				s.see(uplinkOut, udp(t, outside[i], server, id, "question"))
				s.pass(50 * time.Millisecond)
			}
		}
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 4 {
			t.Fatalf("rules known %v: %d journeys: %s", known, len(s.journeys), s.verdicts())
		}
		for i, j := range s.journeys {
			if got, want := path(j), []string{"back/eth0:out host/vethback:in host/docker0:in host/eth0:out", "database/eth0:out host/vethbase:in host/docker1:in host/eth0:out"}[i%2]; got != want {
				t.Errorf("rules known %v: %s, want %s", known, got, want)
			}
			if len(j.Translations) != 1 || j.Translations[0].ConntrackID != uint32(5+i%2) || j.Translations[0].After != udpTuple(outside[i%2], server) || len(j.Flows) != 1 || len(j.Notes) != 0 {
				t.Errorf("rules known %v: journey %d: %+v of %v, notes %q", known, i, j.Translations, j.Flows, j.Notes)
			}
		}
	}
}

// What leaves untranslated, since its answer was looked up in the wrong zone, is a leak
// that no rule against INVALID packets mends.
func TestLeakOfAnAnswerInAnotherZone(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(choosesZones(t, map[string]netfilter.Zones{"eth0": {5, 5}}))
	client, published, inside := port(internetIP, 5555), port(hostIP, 8000), port(backIP, 80)
	tuple := func(a, b netip.AddrPort) packet.Tuple {
		return packet.NewTuple(packet.TCP, a.Addr(), b.Addr(), a.Port(), b.Port())
	}
	s.flow(netfilter.New, netfilter.Flow{ID: 9, Zone: 5, ReplyZone: 5, Original: tuple(client, published), Reply: tuple(inside, client)})
	answer := frame(t, backIP, internetIP, 1, 64, &layers.TCP{SrcPort: 80, DstPort: 5555, Seq: 7, Ack: 8, SYN: true, ACK: true})
	for _, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
		s.see(where, answer)
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	const reason = "it answers conntrack 9, an entry of zone 5; no rule puts what comes in by docker0 into that zone, so it is looked up in zone 0, finds no entry and is not translated back"
	if len(s.journeys) != 1 {
		t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
	if j := s.journeys[0]; !j.Verdict.Leak || j.Verdict.Reason != reason || len(j.Notes) != 0 || len(j.Flows) != 0 || len(j.Translations) != 0 {
		t.Errorf("%+v, notes %q, of %v", j.Verdict, j.Notes, j.Flows)
	}
}

// The host refuses what came to it (RST): that has the addresses of what NAT sent, and is
// its own.
func TestResetOfTheHostIsNotOfTheFlow(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 5}}))
	tuple := func(a, b netip.AddrPort) packet.Tuple {
		return packet.NewTuple(packet.TCP, a.Addr(), b.Addr(), a.Port(), b.Port())
	}
	inside, outside, server := port(backIP, 4000), port(hostIP, 4000), port(internetIP, 80)
	s.flow(netfilter.New, netfilter.Flow{ID: 9, Zone: 5, ReplyZone: 5, Original: tuple(inside, server), Reply: tuple(server, outside)})
	s.pass(50 * time.Millisecond)
	s.see(uplinkOut, frame(t, hostIP, internetIP, 1, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 8, RST: true}))
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	s.expect(want{path: "host/eth0:out", from: "host", direction: NoDirection, verdict: "left by tap"})
	if j := s.journeys[0]; len(j.Flows) != 0 || len(j.Notes) != 0 {
		t.Errorf("of %v, notes %q", j.Flows, j.Notes)
	}
}

// Rules are read a moment after they change, and after a watch began: what waits to go on
// by then is looked for again.
func TestZonesThatAreReadLate(t *testing.T) {
	for _, before := range []bool{true, false} {
		s := newStage(t)
		if before {
			s.c.SetRuleset(choosesZones(t, nil))
		}
		s.flow(netfilter.New, echoFlow(netfilter.Zones{5, 5}))
		s.pass(2 * time.Second)
		s.see(uplinkIn, ping(t, internetIP, hostIP, 7, 1, true))
		s.pass(50 * time.Millisecond)
		late := choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 5}})
		late.Time = s.now
		s.c.SetRuleset(late)
		s.pass(4 * time.Second)
		// With rules before, it may have met either, which say the same of it.
		s.expect(want{path: "host/eth0:in", to: "host", direction: NoDirection, verdict: "delivered by tap"})
		if j := s.journeys[0]; len(j.Flows) != 0 || len(j.Notes) != 1 {
			t.Errorf("of %v, notes %q", j.Flows, j.Notes)
		}
	}
}

// While it is not known which rules an answer met, its tuple tells whose it is.
func TestZonesOfThePacketsTime(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 5}}))
	s.flow(netfilter.New, echoFlow(netfilter.Zones{5, 5}))
	s.pass(2 * time.Second)
	s.see(uplinkIn, ping(t, internetIP, hostIP, 7, 1, true))
	later := choosesZones(t, map[string]netfilter.Zones{"docker0": {5, 5}, "eth0": {5, 5}})
	later.Time = s.now + 1e8
	s.c.SetRuleset(later)
	s.pass(4 * time.Second)
	if j := s.journeys[0]; j.Direction != Reply || len(j.Flows) != 1 {
		t.Errorf("%s of %v, notes %q", j.Direction, j.Flows, j.Notes)
	}
}

// Where nothing tells in which of two zones a packet is, no entry is claimed.
func TestTupleOfTwoZonesIsNobodys(t *testing.T) {
	s := newStage(t)
	server, client := port(internetIP, 7), port(hostIP, 4000)
	for zone := range uint16(2) {
		s.flow(netfilter.New, netfilter.Flow{ID: 5 + uint32(zone), Zone: zone, ReplyZone: zone, Original: udpTuple(port(backIP, 4000+zone), server), Reply: udpTuple(server, client)})
	}
	s.see(uplinkIn, udp(t, server, client, 1, "answer"))
	s.pass(4 * time.Second)
	if j := s.journeys[0]; len(s.journeys) != 1 || len(j.Flows) != 0 || j.Direction != NoDirection || len(j.Translations) != 0 || j.Verdict.Result != Unfinished || !strings.HasSuffix(j.Verdict.Reason, "unknown: entries in several zones have its addresses, and in which of them it was looked up is not known") {
		t.Errorf("%d journeys: %s of %v, %+v, %+v", len(s.journeys), j.Direction, j.Flows, j.Translations, j.Verdict)
	}
}
