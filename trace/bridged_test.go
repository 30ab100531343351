package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

func TestAnswerBridgedPastNAT(t *testing.T) {
	synack := &layers.TCP{SrcPort: 8000, DstPort: 4000, Seq: 7, Ack: 2, SYN: true, ACK: true}
	raw := frame(t, baseIP, backIP, 0, 64, synack)
	undone := frame(t, hostIP, backIP, 0, 64, synack)
	for _, c := range []struct {
		name  string
		reply []byte
		want  bool
	}{{"un-NATed", raw, true}, {"translated back", undone, false}} {
		s := newStage(t)
		s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.TCP, backIP, hostIP, 4000, 8000), Reply: packet.NewTuple(packet.TCP, baseIP, backIP, 8000, 4000)})
		s.see(baseOut, raw)
		s.see(baseVIn, raw)
		s.see(vethOut, c.reply)
		s.see(backIn, c.reply)
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 1 || len(s.journeys[0].Hops) != 4 {
			t.Fatalf("%s: %d journeys", c.name, len(s.journeys))
		}
		notes := strings.Join(s.journeys[0].Notes, "; ")
		if got := strings.Contains(notes, "came over the bridge un-NATed: from 172.17.0.3:8000 where 192.0.2.10:8000 was asked"); got != c.want {
			t.Errorf("%s: %q", c.name, notes)
		}
	}
}

// What an answer that was not translated back means to the asker depends on the protocol,
// and the setting on the family.
func TestAnswerBridgedPastNATInWords(t *testing.T) {
	for name, c := range map[string]struct {
		stage                  func(*testing.T) *stage
		answer                 func(t *testing.T, from, to netip.AddrPort) []byte
		asker, asked, answerer netip.Addr
		says, names            string
	}{
		"UDP":  {newStage, func(t *testing.T, from, to netip.AddrPort) []byte { return udp(t, from, to, 7, "x") }, backIP, hostIP, baseIP, "a program that connected its socket to that does not get it", "net.bridge.bridge-nf-call-iptables = 1"},
		"IPv6": {newStage6, func(t *testing.T, from, to netip.AddrPort) []byte { return udp6(t, from, to, "x") }, backIP6, hostIP6, netip.MustParseAddr("fd00::3"), "another sees an address that it did not ask", "net.bridge.bridge-nf-call-ip6tables = 1"},
	} {
		s := c.stage(t)
		s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: packet.NewTuple(packet.UDP, c.asker, c.asked, 4000, 8000), Reply: packet.NewTuple(packet.UDP, c.answerer, c.asker, 8000, 4000)})
		answer := c.answer(t, port(c.answerer, 8000), port(c.asker, 4000))
		for _, where := range []at{baseOut, baseVIn, vethOut, backIn} {
			s.see(where, answer)
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		notes := strings.Join(sole(t, s).Notes, "; ")
		if !strings.Contains(notes, c.says) || !strings.Contains(notes, c.names) || strings.Contains(notes, "RST") {
			t.Errorf("%s: %q", name, notes)
		}
	}
}
