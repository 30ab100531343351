package trace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// A reset that the rules are sure to have sent ends the journey of what it answers; by its
// numbers it is told from another's.
func TestResetOfARule(t *testing.T) {
	for _, c := range []struct {
		name    string
		verdict netfilter.Verdict
		asked   layers.TCP
		answer  layers.TCP
		want    string // at once
	}{
		{"of a SYN", netfilter.Rejected, layers.TCP{Seq: 7, SYN: true}, layers.TCP{Ack: 8, RST: true, ACK: true}, "dropped at forward by FORWARD #1 [evaluated]: reset in the name of 198.51.100.7 (#2)"},
		{"of a later segment", netfilter.Rejected, layers.TCP{Seq: 7, Ack: 70, ACK: true}, layers.TCP{Seq: 70, RST: true}, "dropped at forward by FORWARD #1 [evaluated]: reset in the name of 198.51.100.7 (#2)"},
		{"of another segment", netfilter.Rejected, layers.TCP{Seq: 7, SYN: true}, layers.TCP{Ack: 9, RST: true, ACK: true}, ""},
		{"where rules drop without a word", netfilter.Dropped, layers.TCP{Seq: 7, SYN: true}, layers.TCP{Ack: 8, RST: true, ACK: true}, ""},
	} {
		s := newDropStage(t)
		s.c.SetTopology(routed(2, 2))
		s.c.SetRuleset(oneRule(t, hostNS, netfilter.Forward, packet.TCP, c.verdict))
		c.asked.SrcPort, c.asked.DstPort, c.answer.SrcPort, c.answer.DstPort = 4000, 80, 80, 4000
		if c.asked.ACK { // else connection tracking would not have it
			s.flow(netfilter.Known, netfilter.Flow{ID: 2, Status: netfilter.SeenReply,
				Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, backIP, 80, 4000)})
		}
		s.toHost(frame(t, backIP, internetIP, 1, 64, &c.asked))
		reset := frame(t, internetIP, backIP, 0, 64, &c.answer)
		for _, where := range []at{bridgeOut, vethOut, backIn} {
			s.see(where, reset)
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		got := ""
		if i := slices.IndexFunc(s.journeys, func(j *Journey) bool { return j.ID == 1 }); i >= 0 {
			v := s.journeys[i].Verdict
			got = fmt.Sprintf("%s at %s by %s [%s]: %s", v.Result, v.Hook, v.By, v.Evidence, v.Reason)
		}
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// Each reset that a rule sends is tied to what it answers, not the first of a connection
// alone.
func TestEveryResetOfARule(t *testing.T) {
	s := newStage(t)
	w := routed(2, 2)
	w.Namespace(hostNS).Links[2].MAC = "02:00:00:00:00:02"
	s.c.SetTopology(w.Seal())
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Time": 1, "Whole": true, "Bridged": [2, 2], "Base": [[0, 0]], "Tables": [
		{"Family": "bridge", "Name": "filter", "Chains": [{"Name": "INPUT", "Base": true, "Type": "filter", "Hook": "input", "Policy": 1, "Rules": [
			{"Ref": {"Backend": "nf_tables", "Family": "bridge", "Table": "filter", "Chain": "INPUT", "Position": 1, "Handle": 7}, "Expressions": [
				{"n": "meta", "k": 16, "r": [0, 1], "h": [false, true]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": %q}, {"n": "counter"}, {"n": "reject"}]}]}]}]}`,
		base64.StdEncoding.EncodeToString([]byte{byte(packet.TCP)})), r); err != nil {
		t.Fatal(err)
	}
	s.c.SetRuleset(r)
	s.flow(netfilter.Known, netfilter.Flow{ID: 2, Status: netfilter.SeenReply,
		Original: packet.NewTuple(packet.TCP, backIP, gatewayIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, gatewayIP, backIP, 80, 4000)})
	for i := range uint32(4) {
		segment := frame(t, backIP, gatewayIP, uint16(10+i), 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 7 + i, Ack: 70 + i, ACK: true})
		reset := frame(t, gatewayIP, backIP, 0, 64, &layers.TCP{SrcPort: 80, DstPort: 4000, Seq: 70 + i, RST: true})
		s.see(backOut, segment)
		s.see(vethIn, segment)
		s.see(vethOut, reset)
		s.see(backIn, reset)
		s.pass(50 * time.Millisecond)
	}
	s.pass(50 * time.Millisecond)
	about := map[uint64]uint64{}
	for _, j := range s.journeys {
		for _, r := range j.Related {
			about[j.ID] = r.ID
		}
	}
	if want := map[uint64]uint64{2: 1, 4: 3, 6: 5, 8: 7}; !reflect.DeepEqual(about, want) {
		t.Errorf("resets are about %v, want %v", about, want)
	}
}
