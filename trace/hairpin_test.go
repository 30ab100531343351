package trace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

type way [2]netip.AddrPort

// synOf is the first segment of a connection, or the second.
func synOf(t *testing.T, w way, id uint16, ack bool) []byte {
	return frame(t, w[0].Addr(), w[1].Addr(), id, 64, &layers.TCP{
		SrcPort: layers.TCPPort(w[0].Port()), DstPort: layers.TCPPort(w[1].Port()), Seq: 7, Ack: 9, SYN: true, ACK: ack, Window: 1000,
	})
}

// A hairpin changes both addresses at once. Only what no other packet can have joins
// the two; where another can, that is said of both.
func TestHairpinsAreInferredWhereNothingElseFits(t *testing.T) {
	const client = 40000
	asked := way{port(backIP, client), port(hostIP, 8000)}
	translated := way{port(gatewayIP, client), port(baseIP, 80)}
	six := func(last string, number uint16) netip.AddrPort {
		return port(netip.MustParseAddr("fd00:1::"+last), number)
	}
	for name, c := range map[string]struct {
		before, after way
		tcp           bool
		ids           [2]uint16
		journeys      int
		ambiguous     bool
	}{
		"a segment":         {asked, translated, true, [2]uint16{1, 1}, 1, false},
		"its port changed":  {asked, way{port(gatewayIP, client+1), port(baseIP, 80)}, true, [2]uint16{1, 1}, 1, false},
		"to itself":         {asked, way{port(gatewayIP, client), port(backIP, 80)}, true, [2]uint16{1, 1}, 1, false},
		"a datagram":        {asked, translated, false, [2]uint16{1, 1}, 1, false},
		"no identification": {asked, translated, false, [2]uint16{0, 0}, 1, false},
		"IPv6":              {way{six("2", client), six("1", 8000)}, way{six("1", client), six("3", 80)}, false, [2]uint16{}, 1, false},
		"an answer":         {way{port(baseIP, 80), port(gatewayIP, client)}, way{port(hostIP, 8000), port(backIP, client)}, false, [2]uint16{0, 0}, 1, false},

		"a proxy's datagram": {asked, way{port(gatewayIP, client+1), port(baseIP, 80)}, false, [2]uint16{1, 1}, 2, false},
		"without a number":   {asked, way{port(gatewayIP, client+1), port(baseIP, 80)}, false, [2]uint16{0, 0}, 2, false},
		"another datagram":   {asked, translated, false, [2]uint16{1, 2}, 2, false},
		"an echo":            {way{port(backIP, 123), port(hostIP, 123)}, way{port(hostIP, 123), port(backIP, 123)}, false, [2]uint16{1, 1}, 2, false},
		"among equals":       {way{port(backIP, 123), port(hostIP, 123)}, way{port(gatewayIP, 123), port(baseIP, 123)}, false, [2]uint16{0, 0}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newForeignStage(t)
			for i, w := range []way{c.before, c.after} {
				where := []at{vethIn, vethOut}[i]
				switch {
				case w[0].Addr().Is6():
					s.see(where, udp6(t, w[0], w[1], "payload"))
				case c.tcp:
					s.see(where, synOf(t, w, c.ids[i], false))
				default:
					s.see(where, udp(t, w[0], w[1], c.ids[i], "payload"))
				}
			}
			s.pass(4 * time.Second)
			s.pass(4 * time.Second)
			if len(s.journeys) != c.journeys {
				t.Fatalf("%d journeys, want %d: %s", len(s.journeys), c.journeys, s.verdicts())
			}
			for _, j := range s.journeys {
				if said := strings.Contains(strings.Join(j.Notes, " "), "looks the same as this packet"); said != c.ambiguous || said != (j.Verdict.Evidence == Ambiguous) {
					t.Errorf("#%d: %s, %q; ambiguous: want %v", j.ID, j.Verdict.Evidence, j.Notes, c.ambiguous)
				}
			}
			if c.journeys > 1 {
				return
			}
			tr := s.journeys[0].Translations
			if len(tr) != 2 || tr[0].Evidence != ByInference || tr[1].Evidence != ByInference {
				t.Fatalf("translations %+v", tr)
			}
			if got, want := [2]string{tr[0].Kind, tr[1].Kind}, [2]string{DNAT, SNAT}; got != want && c.before[0].Port() == client {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// On its way to itself a packet is seen half way, at the bridge, as long as the bridge
// has not learnt the short cut. So what is inferred has three places, both ways.
func TestHairpinOfThreePlacesIsOneFlow(t *testing.T) {
	const client = 40000
	asked := []way{
		{port(backIP, client), port(hostIP, 8000)}, {port(backIP, client), port(backIP, 80)}, {port(gatewayIP, client), port(backIP, 80)},
	}
	answered := []way{
		{port(backIP, 80), port(gatewayIP, client)}, {port(backIP, 80), port(backIP, client)}, {port(hostIP, 8000), port(backIP, client)},
	}
	for name, rounds := range map[string][][]way{
		"from the beginning": {asked, answered, asked, answered},
		"from an answer on":  {answered, asked, answered},
	} {
		t.Run(name, func(t *testing.T) {
			s := newForeignStage(t)
			for i, round := range rounds {
				points := []at{vethIn, bridgeOut, vethOut}
				if i >= 2 {
					points, round = []at{vethIn, vethOut}, []way{round[0], round[2]}
				}
				answer := round[0][0].Port() == 80
				for k, w := range round {
					s.see(points[k], synOf(t, w, uint16(100+i), answer))
				}
			}
			s.pass(4 * time.Second)
			s.pass(4 * time.Second)
			if len(s.journeys) != len(rounds) {
				t.Fatalf("%d journeys, want %d: %s", len(s.journeys), len(rounds), s.verdicts())
			}
			for i, j := range s.journeys {
				want := Original
				if rounds[i][0] == answered[0] {
					want = Reply
				}
				if len(j.Translations) != 2 || j.Direction != want || len(j.Hops) != 3 && i < 2 {
					t.Errorf("#%d: %d hops, %s, want %s: %s", j.ID, len(j.Hops), j.Direction, want, changes(j))
				}
			}
		})
	}
}

// Of what is alike, each goes back by the link it came from.
func TestHairpinsThatAreAlikeStayApart(t *testing.T) {
	const client = 40000
	s := newForeignStage(t)
	for i, own := range []struct {
		in, out at
		ip      netip.Addr
	}{{vethIn, vethOut, backIP}, {baseVIn, baseVOut, baseIP}} {
		s.see(own.in, udp(t, port(own.ip, client), port(hostIP, uint16(8000+i)), 0, "alike"))
	}
	s.see(vethOut, udp(t, port(gatewayIP, client), port(backIP, 80), 0, "alike"))
	s.see(baseVOut, udp(t, port(gatewayIP, client), port(baseIP, 80), 0, "alike"))
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Fatalf("%d journeys, want 2: %s", len(s.journeys), s.verdicts())
	}
	for _, j := range s.journeys {
		if len(j.Hops) != 2 || j.Hops[0].Point.Ifindex != j.Hops[1].Point.Ifindex {
			t.Errorf("#%d: %+v", j.ID, j.Hops)
		}
	}
}

// A port that is not in hairpin mode sends nothing back that came in by it. That is
// told where bridge netfilter translates on the bridge, and nowhere else.
func TestNotSentBack(t *testing.T) {
	const why = "172.17.0.2 is behind vethback, by which it came, and docker0 sends nothing back there: hairpin mode of that port is off"
	own, half := port(backIP, 8000), port(backIP, 40000)
	for name, c := range map[string]struct {
		mode    string
		bridged netfilter.Fact
		to      netip.Addr // that the rule makes of the destination
		shown   bool       // the bridge asks for the MAC address first
		want    string
	}{
		"off":                      {netinfo.HairpinOff, netfilter.True, backIP, false, why},
		"off, shown half way":      {netinfo.HairpinOff, netfilter.True, backIP, true, why},
		"on":                       {netinfo.HairpinOn, netfilter.True, backIP, false, ""},
		"not known":                {"", netfilter.True, backIP, true, ""},
		"routed, not bridged":      {netinfo.HairpinOff, netfilter.False, backIP, false, ""},
		"to another, by its port":  {netinfo.HairpinOff, netfilter.True, baseIP, false, ""},
		"to another, and half way": {netinfo.HairpinOff, netfilter.True, baseIP, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDropStage(t)
			topology := world()
			host := topology.Namespaces[0]
			host.Routes = []netinfo.Route{{Destination: netip.MustParsePrefix("172.17.0.0/16"), Link: bridge}}
			host.LinkByName("vethback").Hairpin = c.mode
			s.c.SetTopology(topology.Seal())
			four := c.to.As4()
			rules := &netfilter.Ruleset{}
			if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Whole": true, "Bridged": [%d, 0], "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
				{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1,
				 "Rules": [{"Ref": {"Text": "dnat", "Chain": "PREROUTING"}, "Expressions": [
					{"n": "immediate", "r": [0, 1], "h": [false, true], "d": %q}, {"n": "nat", "k": 1, "fa": 2, "a": 1}]}]}]}]}`,
				c.bridged, base64.StdEncoding.EncodeToString(four[:])), rules); err != nil {
				t.Fatal(err)
			}
			s.c.SetRuleset(rules)
			before := synOf(t, way{half, port(hostIP, 8000)}, 1, false)
			s.see(backOut, before)
			s.see(vethIn, before)
			if c.shown {
				s.see(bridgeOut, synOf(t, way{half, netip.AddrPortFrom(c.to, own.Port())}, 1, false))
			}
			s.pass(4 * time.Second)
			s.pass(4 * time.Second)
			if len(s.journeys) != 1 {
				t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
			}
			v := s.journeys[0].Verdict
			if said := v.Reason == why; said != (c.want != "") || said && (v.Result != Dropped || v.Evidence != ByRules || v.Hop != len(s.journeys[0].Hops)-1) {
				t.Errorf("%+v", v)
			}
		})
	}
}
