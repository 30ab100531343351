package trace

import (
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// pauseNow tells that the tracer ceases to ask.
func (s *stage) pauseNow() {
	s.c.AddHits(&netfilter.HitBatch{Through: s.now, PausedAt: s.now + 1e6})
}

// Nothing is concluded from the way of what was sent just before a pause: its end may
// not have been told.
func TestWalkThatAPauseMayCut(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "pass")
	told{s, 1}.hits("output", f, "+nat POSTROUTING policy accept")
	s.pauseNow()
	for range 6 {
		s.later(time.Second)
	}
	if v := sole(t, s).Verdict; v.Result != Unfinished || !strings.Contains(v.Reason, "paused") {
		t.Errorf("verdict %+v", v)
	}
}

// A drop that was told is one, pause or not; so is a pause long behind a walk none of
// its business.
func TestWalkBesideAPause(t *testing.T) {
	for name, c := range map[string]struct {
		line   string
		before time.Duration // the pause
		result Result
	}{
		"drop":        {"+filter OUTPUT policy drop", 0, Dropped},
		"long before": {"+nat POSTROUTING policy accept", time.Second, Vanished},
	} {
		t.Run(name, func(t *testing.T) {
			s := traceStage(t)
			f := udp(t, port(hostIP, 4000), port(internetIP, 98), 7, "pass")
			told{s, 1}.hits("output", f, c.line)
			s.later(c.before)
			s.pauseNow()
			for range 6 {
				s.later(time.Second)
			}
			if v := sole(t, s).Verdict; v.Result != c.result || v.Evidence != ByTrace {
				t.Errorf("verdict %+v", v)
			}
		})
	}
}

// What comes in meets all its rules before the kernel ceases to tell, unless one of
// them hands it to a program.
func TestWalkInBesideAPause(t *testing.T) {
	for name, c := range map[string]struct {
		lines  []string
		result Result
	}{
		"at once":           {[]string{"+filter INPUT policy accept"}, Delivered},
		"through a program": {[]string{"+filter INPUT 9 queue", "filter INPUT policy accept"}, Dropped},
	} {
		t.Run(name, func(t *testing.T) {
			s := traceStage(t)
			s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(hostIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)})
			f := udp(t, port(internetIP, 4000), port(hostIP, 97), 7, "in")
			s.see(uplinkIn, f)
			told{s, 1}.hits("prerouting", f, c.lines...)
			s.pauseNow()
			s.later(50 * time.Millisecond)
			s.later(4 * time.Second)
			if v := sole(t, s).Verdict; v.Result != c.result || (v.Evidence == ByTrace) != (c.result == Delivered) {
				t.Errorf("verdict %+v", v)
			}
		})
	}
}

// How long nothing was asked is counted, and old pauses are forgotten.
func TestPausesAreCounted(t *testing.T) {
	s := traceStage(t)
	f := udp(t, port(internetIP, 4000), port(hostIP, 97), 7, "in")
	for range 100 {
		s.see(uplinkIn, f)
		s.c.AddHits(&netfilter.HitBatch{Through: s.now, PausedAt: s.now, Paused: 700 * time.Millisecond})
		s.later(time.Second)
	}
	if n := s.c.Counters().TracePaused; n != 70*time.Second {
		t.Errorf("paused for %v", n)
	}
	if n := len(s.c.walks.pauses); n > 20 {
		t.Errorf("%d pauses are kept", n)
	}
}
