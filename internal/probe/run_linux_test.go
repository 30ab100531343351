package probe

import (
	"sync/atomic"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/trace"
)

// A busy machine judges packets late. Their journeys are waited for as long as that
// takes, and not when all of that time were judged.
func TestJourneysThatAreJudgedLate(t *testing.T) {
	const timeout = 10 * time.Millisecond
	tuple := packet.NewTuple(packet.ICMP, addr("172.24.0.2"), addr("198.51.100.7"), 1, echoRequest<<8)
	for _, comes := range []bool{true, false} {
		var judged atomic.Int64
		p := &Prober{config: Config{Timeout: timeout}, topology: fixture(), judged: func() time.Time { return time.Unix(0, judged.Load()) }}
		w := &observed{changed: make(chan struct{}, 1), journeys: Journeys{Tuple: tuple, From: backNS}}
		o := &Outcome{Answer: Answer{Result: Silent}, Sent: Sent{Tuple: tuple, Time: time.Now()}}
		time.AfterFunc(2*timeout+3*grace, func() {
			judged.Store(time.Now().UnixNano())
			if comes {
				p.mu.Lock()
				w.journeys.Add(journey(1, trace.Dropped, tuple, backNS))
				p.mu.Unlock()
				w.changed <- struct{}{}
			}
		})
		p.awaitJourneys(t.Context(), o, w)
		if judged.Load() == 0 || comes != (len(w.journeys.There) == 1) {
			t.Errorf("waited for what was judged: %v; journeys %v", judged.Load() != 0, w.journeys.There)
		}
	}
}
