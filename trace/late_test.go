package trace

import (
	"testing"
	"time"
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
