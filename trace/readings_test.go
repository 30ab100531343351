package trace

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// readNow tells of rules that were read at this moment.
func (s *stage) readNow(r *netfilter.Ruleset) {
	r.Time = s.now
	s.c.SetRuleset(r)
}

// came sees a packet of back at the bridge, and no more of it.
func (s *stage) came(frame []byte) {
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		s.see(where, frame)
	}
}

// A packet is judged seconds after it came, by the rules that it met: where they may have
// changed about that time, none is sure to have dropped it.
func TestRulesOfThePacketsTime(t *testing.T) {
	forward := func(t *testing.T) *netfilter.Ruleset {
		return oneRule(t, hostNS, netfilter.Forward, packet.UDP, netfilter.Dropped)
	}
	prerouting := func(t *testing.T) *netfilter.Ruleset {
		return oneRule(t, hostNS, netfilter.Prerouting, packet.UDP, netfilter.Rejected)
	}
	none := func(*testing.T) *netfilter.Ruleset { return &netfilter.Ruleset{Namespace: hostNS} }
	const (
		sure     = "dropped at forward by FORWARD #1 [evaluated]"
		inferred = "dropped at forward by  [inferred]"
		vanished = "vanished at  by  [tap]"
	)
	for _, c := range []struct {
		name          string
		before, after func(*testing.T) *netfilter.Ruleset
		later         time.Duration // than the packet
		flow          bool
		want, reason  string
	}{
		{"one gone at once", forward, none, 5 * time.Millisecond, false, inferred, "likely a rule dropped it (FORWARD #1; the rules changed about that time)"},
		{"another instead at once", forward, prerouting, 5 * time.Millisecond, false, inferred, "likely a rule dropped it (FORWARD #1 or PREROUTING #1; the rules changed about that time)"},
		{"one that came, and was read soon", none, forward, 300 * time.Millisecond, false, inferred, "likely a rule dropped it (FORWARD #1; the rules changed about that time)"},
		{"read again, and the same", forward, forward, 300 * time.Millisecond, false, sure, ""},
		{"one gone later", forward, none, 2 * time.Second, false, sure, ""},
		{"another instead later", forward, prerouting, 2 * time.Second, false, sure, ""},
		{"one that came later", none, forward, 2 * time.Second, false, inferred, "the rules let it pass, so likely"},
		{"one gone later, of a flow", forward, none, 2 * time.Second, true, sure, ""},
		{"one gone at once, of a flow", forward, none, 5 * time.Millisecond, true, vanished, "likely a rule (FORWARD #1; the rules changed about that time), or"},
		{"one that came later, of a flow", none, forward, 2 * time.Second, true, vanished, "the rules let its flow pass, yet it was not seen again: likely a queue"},
	} {
		s := newDropStage(t)
		s.c.SetTopology(routedWorld())
		s.readNow(c.before(t))
		if c.flow {
			asked := udpTuple(port(backIP, 4000), port(internetIP, 53))
			s.flow(netfilter.New, netfilter.Flow{ID: 9, Original: asked, Reply: asked.Inverse()})
		}
		s.pass(100 * time.Millisecond)
		s.came(udp(t, port(backIP, 4000), port(internetIP, 53), 3, "hello"))
		s.pass(c.later)
		s.readNow(c.after(t))
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != c.want || !strings.Contains(s.verdicts(), c.reason) {
			t.Errorf("%s: %v: %s, want %s: %s", c.name, s.ended(), s.verdicts(), c.want, c.reason)
		}
	}
}

// A rule that was read only after a packet had come may not have been there yet.
func TestRulesThatAreReadTooLate(t *testing.T) {
	s := newDropStage(t)
	s.c.SetTopology(routedWorld())
	s.came(udp(t, port(backIP, 4000), port(internetIP, 53), 3, "hello"))
	s.pass(100 * time.Millisecond)
	s.readNow(oneRule(t, hostNS, netfilter.Forward, packet.UDP, netfilter.Dropped))
	s.pass(4 * time.Second)
	if got, want := s.verdicts(), "likely a rule dropped it (FORWARD #1; the rules of that time are not known)"; !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

// What a rule sent, the only one that may have been there has sent.
func TestRejectedAboutTheTimeOfAChange(t *testing.T) {
	s := newDropStage(t)
	s.c.SetTopology(routedWorld())
	s.readNow(oneRule(t, hostNS, netfilter.Forward, packet.TCP, netfilter.Rejected))
	s.pass(100 * time.Millisecond)
	s.came(frame(t, backIP, internetIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: 1, SYN: true}))
	s.see(bridgeOut, frame(t, internetIP, backIP, 0, 64, &layers.TCP{SrcPort: 80, DstPort: 4000, Ack: 2, RST: true, ACK: true}))
	s.pass(5 * time.Millisecond)
	s.readNow(&netfilter.Ruleset{Namespace: hostNS})
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if v := s.journeys[0].Verdict; v.By != "FORWARD #1" || !strings.HasPrefix(v.Reason, "reset in the name of 198.51.100.7") {
		t.Errorf("%+v", v)
	}
}

// sendsOnAndDrops is a Ruleset of the host that sends all to farIP, and passes nothing on.
func sendsOnAndDrops(t *testing.T) *netfilter.Ruleset {
	t.Helper()
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Whole": true, "Base": [[0, 0], [1, 0]], "Tables": [
		{"Family": "ip", "Name": "nat", "Chains": [
			{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1,
			 "Rules": [{"Ref": {"Text": "dnat to 172.24.0.2", "Chain": "PREROUTING"}, "Expressions": [
				{"n": "immediate", "r": [0, 1], "h": [false, true], "d": "rBgAAg=="}, {"n": "nat", "k": 1, "fa": 2, "a": 1}]}]}]},
		{"Family": "ip", "Name": "filter", "Chains": [
			{"Name": "FORWARD", "Base": true, "Type": "filter", "Hook": "forward", "Policy": 1, "Rules": [
				{"Ref": {"Family": "ip", "Table": "filter", "Chain": "FORWARD", "Position": 1}, "Expressions": [{"n": "immediate", "h": [false, true], "v": {"Code": 0}}]}]}]}]}`), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A published port goes with its container. What was sent on by its rule, and dropped, did
// not come to the host itself.
func TestPublishedPortThatGoes(t *testing.T) {
	for later, want := range map[time.Duration]string{time.Second: "dropped at forward by FORWARD #1 [evaluated]", 5 * time.Millisecond: "dropped at  by  [inferred]"} {
		s := newDropStage(t)
		s.c.SetTopology(routedWorld())
		s.readNow(sendsOnAndDrops(t))
		s.pass(100 * time.Millisecond)
		s.see(uplinkIn, frame(t, internetIP, hostIP, 7, 64, &layers.TCP{SrcPort: 4000, DstPort: 8000, Seq: 1, SYN: true}))
		s.pass(later)
		s.readNow(&netfilter.Ruleset{Namespace: hostNS})
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != want || strings.Contains(s.verdicts(), "before a program of host") {
			t.Errorf("gone after %v: %s: %s, want %s", later, s.ended(), s.verdicts(), want)
		}
		if n := len(s.journeys[0].Translations); (n == 1) != (later == time.Second) {
			t.Errorf("gone after %v: %s", later, changes(s.journeys[0]))
		}
	}
}

// Only a few readings are kept, and of those no old ones.
func TestReadingsThatAreKept(t *testing.T) {
	var x readings
	for i := range int64(20) {
		x = x.add(&netfilter.Ruleset{Time: i * 1e6})
	}
	if len(x) != maxReadings || x[len(x)-1].Time != 19e6 {
		t.Errorf("%d readings, the last of %d", len(x), x[len(x)-1].Time)
	}
	if met, known := x.met(5e6); known || len(met) == 0 {
		t.Errorf("rules of which nothing is kept: %d readings, known %v", len(met), known)
	}
	x = x.add(&netfilter.Ruleset{Time: 60 * seconds})
	x = x.add(&netfilter.Ruleset{Time: 90 * seconds})
	if len(x) != 2 {
		t.Errorf("%d readings after a long time", len(x))
	}
	if met, known := x.met(70 * seconds); !known || len(met) != 1 || met[0].Time != 60*seconds {
		t.Errorf("%d readings, known %v", len(met), known)
	}
}
