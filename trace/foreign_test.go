package trace

import (
	"testing"
	"time"
)

// What one place does to a flow's packets, another need not have done to the same
// addresses before it sent them.
func TestInferredFlowIsOfItsPlace(t *testing.T) {
	for _, c := range []struct {
		name string
		sent at
		want int
	}{
		{"by who translates", vethOut, 1},
		{"by another", backOut, 0},
	} {
		s := newStage(t)
		s.c.ReadForeign()
		s.see(uplinkIn, udp(t, port(internetIP, 40000), port(hostIP, 53), 1, "question"))
		s.see(vethOut, udp(t, port(internetIP, 40000), port(backIP, 53), 1, "question"))
		s.pass(4 * time.Second)
		s.see(c.sent, udp(t, port(internetIP, 40000), port(backIP, 53), 2, "again"))
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 || len(s.journeys[0].Translations) != 1 {
			t.Fatalf("%s: %d journeys, want 2, the first translated", c.name, len(s.journeys))
		}
		if got := s.journeys[1].Translations; len(got) != c.want {
			t.Errorf("sent %s: translations %+v, want %d", c.name, got, c.want)
		}
	}
}
