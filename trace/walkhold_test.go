package trace

import (
	"strings"
	"testing"
	"time"
)

// A packet that waits for its neighbour's address before its first tap is told of once,
// with the rules that it met.
func TestWalkOfWhatIsSeenLate(t *testing.T) {
	for _, wait := range []time.Duration{0, 500 * time.Millisecond, time.Second, 3 * time.Second, 4 * time.Second} {
		s := traceStage(t)
		f := udp(t, port(gatewayIP, 4000), port(backIP, 99), 7, "the one")
		told{s, 1}.hits("output", f, "+nat POSTROUTING policy accept")
		for at := time.Duration(0); at < 10*time.Second; at += 50 * time.Millisecond {
			if at == wait {
				s.see(bridgeOut, f)
			}
			s.later(50 * time.Millisecond)
		}
		if j := sole(t, s); len(j.Hops) != 1 || walkOfRules(j) != "postrouting [-1 0]: policy of POSTROUTING accept" {
			t.Errorf("waited %v: %s, walk %q", wait, path(j), walkOfRules(j))
		}
		if n := s.c.Walks(); n != 0 {
			t.Errorf("waited %v: %d walks kept", wait, n)
		}
	}
}

// One that is passed on and waits there keeps its walk, and so does the record that
// amends its own. Many hops, each after a while, make no difference.
func TestWalkOfWhatWaitsOnItsWay(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(internetIP, 4000), port(backIP, 99), 7, "the one")
	s.see(uplinkIn, f)
	told{s, 1}.hits("prerouting", f, "+filter FORWARD 3 jump:USER", "filter USER 5 accept")
	for _, where := range []at{bridgeOut, vethOut} {
		for range 30 {
			s.later(100 * time.Millisecond)
		}
		s.see(where, f)
	}
	for i := 0; len(s.journeys) == 0 && i < 400; i++ {
		s.later(10 * time.Millisecond)
	}
	first := sole(t, s)
	s.later(280 * time.Millisecond)
	s.see(backIn, f)
	for range 20 {
		s.later(100 * time.Millisecond)
	}
	if len(s.journeys) != 2 || s.journeys[1].Supersedes != first.ID || len(s.journeys[1].Hops) != 4 {
		t.Fatal(s.verdicts())
	}
	for _, j := range s.journeys {
		if got := walkOfRules(j); !strings.HasSuffix(got, "let it accept") {
			t.Errorf("%s: walk %q", path(j), got)
		}
	}
	if n := s.c.Walks(); n != 0 {
		t.Errorf("%d walks kept", n)
	}
}

// Another packet that looks the same and is open still does not hide one that no tap saw:
// each has its walk.
func TestUnseenBesideAnOpenJourney(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(gatewayIP, 4000), port(backIP, 99), 7, "twice")
	told{s, 1}.hits("output", f, "+nat POSTROUTING policy accept")
	s.later(2 * time.Second)
	told{s, 2}.hits("output", f, "+nat POSTROUTING policy accept")
	s.see(bridgeOut, f)
	for range 100 {
		s.later(100 * time.Millisecond)
	}
	if len(s.journeys) != 2 || len(s.journeys[0].Hops) != 1 || len(s.journeys[1].Hops) != 0 {
		t.Fatal(s.verdicts())
	}
	for _, j := range s.journeys {
		if walkOfRules(j) == "" {
			t.Errorf("%s has no walk", path(j))
		}
	}
}

// A pause just behind a walk counts for as long as that is kept.
func TestPauseBesideAWalkThatIsHeld(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(gatewayIP, 4000), port(backIP, 99), 7, "the one")
	told{s, 1}.hits("output", f, "+nat POSTROUTING policy accept")
	s.pauseNow()
	for _, where := range []at{bridgeOut, vethOut} {
		for range 30 {
			s.later(100 * time.Millisecond)
		}
		s.see(where, f)
	}
	for range 50 {
		s.later(100 * time.Millisecond)
	}
	if j := sole(t, s); j.Verdict.Evidence == ByTrace || walkOfRules(j) == "" {
		t.Errorf("%+v, walk %q", j.Verdict, walkOfRules(j))
	}
	if n := len(s.c.walks.pauses); n != 0 {
		t.Errorf("%d pauses kept", n)
	}
}
