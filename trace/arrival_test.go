package trace

import (
	"fmt"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// toBase sees a packet of back that comes to database.
func (s *stage) toBase(frame []byte) {
	for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		s.see(where, frame)
	}
}

// ended writes how the last journey ended.
func (s *stage) ended() string {
	v := &s.journeys[len(s.journeys)-1].Verdict
	return fmt.Sprintf("%s at %s by %s [%s]", v.Result, v.Hook, v.By, v.Evidence)
}

const (
	tapSawIt     = "delivered at  by  [tap]"
	droppedByOne = "dropped at input by INPUT #1 [evaluated]"
)

// Where nothing is tracked, as in most containers, the tap alone tells of a delivery. The
// rules of INPUT stand behind it.
func TestDroppedWhereNothingIsTracked(t *testing.T) {
	now := newStage(t).now
	for _, c := range []struct {
		name  string
		rules *netfilter.Ruleset
		since int64
		want  string
	}{
		{"no rules known", nil, 0, tapSawIt},
		{"a rule for it", oneRule(t, baseNS, netfilter.Input, packet.ICMP, netfilter.Dropped), 1, droppedByOne},
		{"a rule that rejects it", oneRule(t, baseNS, netfilter.Input, packet.ICMP, netfilter.Rejected), 1, droppedByOne},
		{"a rule that came later", oneRule(t, baseNS, netfilter.Input, packet.ICMP, netfilter.Dropped), now + 1e9, tapSawIt},
		{"a rule for others", oneRule(t, baseNS, netfilter.Input, packet.UDP, netfilter.Dropped), 1, tapSawIt},
		{"a rule for what is sent on", oneRule(t, baseNS, netfilter.Forward, packet.ICMP, netfilter.Dropped), 1, tapSawIt},
		{"elsewhere", oneRule(t, backNS, netfilter.Input, packet.ICMP, netfilter.Dropped), 1, tapSawIt},
	} {
		s := newStage(t)
		if c.rules != nil {
			c.rules.Time = c.since
			s.c.SetRuleset(c.rules)
		}
		s.toBase(ping(t, backIP, baseIP, 1, 1, false))
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != c.want {
			t.Errorf("%s: %v, want %s", c.name, s.ends(), c.want)
		}
	}
}

// An entry proves that the first packet came through. Of those behind it the rules tell,
// on a trail, too; and no longer when they are gone.
func TestRuleOfInputThatComesAndGoes(t *testing.T) {
	s := newDropStage(t)
	empty := func() *netfilter.Ruleset { return &netfilter.Ruleset{Namespace: hostNS, Time: s.now} }
	s.c.SetRuleset(empty())
	o := echoTuple(backIP, gatewayIP, 1, false)
	ask := func(want string) {
		t.Helper()
		n := uint16(len(s.journeys) + 1)
		s.toHost(ping(t, backIP, gatewayIP, 1, n, false))
		if n == 1 {
			s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: o, Reply: o.Inverse()})
		}
		s.pass(50 * time.Millisecond)
		if want == tapSawIt && len(s.journeys) != int(n) {
			t.Errorf("number %d waits", n)
		}
		s.pass(4 * time.Second)
		if len(s.journeys) != int(n) || s.ended() != want {
			t.Errorf("number %d: %v, want %s", n, s.ends(), want)
		}
	}
	ask("delivered at  by  [conntrack]")
	ask(tapSawIt)
	ask(tapSawIt)
	rules := oneRule(t, hostNS, netfilter.Input, packet.ICMP, netfilter.Dropped)
	rules.Time = s.now
	s.c.SetRuleset(rules)
	for range 3 {
		ask(droppedByOne)
	}
	s.c.SetRuleset(empty())
	ask(tapSawIt)
}

// Rules are read a while after they changed. What of two readings a packet met is not
// known where the change may have come before it; a reading that says the same takes
// nothing back.
func TestRulesOfInputThatChangeAboutThatTime(t *testing.T) {
	const unknown = "unfinished at  by  [tap]"
	drops, passes := netfilter.Input, netfilter.Forward
	for _, c := range []struct {
		name          string
		before, after netfilter.Hook
		later         time.Duration // than the packet
		want          string
	}{
		{"read again, and the same", drops, drops, 20 * time.Millisecond, droppedByOne},
		{"taken away at once", drops, passes, 5 * time.Millisecond, unknown},
		{"taken away soon", drops, passes, 500 * time.Millisecond, unknown},
		{"taken away later", drops, passes, 2 * time.Second, droppedByOne},
		{"it came later", passes, drops, 5 * time.Millisecond, tapSawIt},
	} {
		s := newStage(t)
		s.c.SetRuleset(oneRule(t, baseNS, drops, packet.UDP, netfilter.Dropped))
		read := func(hook netfilter.Hook) {
			r := oneRule(t, baseNS, hook, packet.ICMP, netfilter.Dropped)
			r.Time = s.now
			s.c.SetRuleset(r)
		}
		read(c.before)
		s.pass(10 * time.Millisecond)
		s.toBase(ping(t, backIP, baseIP, 1, 1, false))
		s.pass(c.later)
		read(c.after)
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		if len(s.journeys) != 1 || s.ended() != c.want {
			t.Errorf("%s: %v, want %s", c.name, s.ends(), c.want)
		}
	}
}

// What is settled before its time is not taken for delivered.
func TestRuleOfInputAtTheEndOfACapture(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(oneRule(t, baseNS, netfilter.Input, packet.ICMP, netfilter.Dropped))
	s.toBase(ping(t, backIP, baseIP, 1, 1, false))
	s.pass(time.Millisecond)
	s.c.Flush()
	if len(s.journeys) != 1 || s.ended() != droppedByOne {
		t.Errorf("%v", s.ends())
	}
}

// What the kernel confirmed was accepted, whatever the rules say a moment later.
func TestEntryAgainstRuleOfInput(t *testing.T) {
	s := newDropStage(t)
	s.c.SetRuleset(oneRule(t, hostNS, netfilter.Input, packet.ICMP, netfilter.Dropped))
	o := echoTuple(backIP, gatewayIP, 1, false)
	s.toHost(ping(t, backIP, gatewayIP, 1, 1, false))
	s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: o, Reply: o.Inverse()})
	s.wantEnds("delivered by conntrack")
}

// Of more than a second's share nothing is claimed where the rules dropped others.
func TestArrivalsAreLimited(t *testing.T) {
	for _, c := range []struct {
		protocol packet.Protocol
		want     [3]int // dropped, delivered, unfinished
	}{{packet.ICMP, [3]int{maxArrivals, 0, 20}}, {packet.UDP, [3]int{0, maxArrivals + 20, 0}}} {
		s := newStage(t)
		s.c.SetRuleset(oneRule(t, baseNS, netfilter.Input, c.protocol, netfilter.Dropped))
		for i := range maxArrivals + 20 {
			s.toBase(ping(t, backIP, baseIP, 1, uint16(i+1), false))
		}
		s.pass(50 * time.Millisecond)
		s.pass(4 * time.Second)
		var got [3]int
		for _, j := range s.journeys {
			switch j.Verdict.Result {
			case Dropped:
				got[0]++
			case Delivered:
				got[1]++
			case Unfinished:
				got[2]++
			}
		}
		if got != c.want {
			t.Errorf("protocol %d: %v, want %v", c.protocol, got, c.want)
		}
	}
}
