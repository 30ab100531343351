package trace

import (
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
