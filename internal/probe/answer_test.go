package probe

import (
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/trace"
)

// What comes back to a SYN whose socket is closed is known from where it was seen.
func TestAnswerSeen(t *testing.T) {
	sent := time.Unix(100, 0)
	back := func(change func(*packet.Headers)) *trace.Journey {
		j := journey(2, trace.Delivered, syn.Inverse(), hostNS, ubuntuNS)
		j.Hops[1].Point.Direction, j.Hops[1].Time = capture.In, sent.Add(2*time.Second).UnixNano()
		for i := range j.Hops {
			change(&j.Hops[i].Headers)
		}
		return j
	}
	quotes := func(code uint8) func(*packet.Headers) {
		return func(h *packet.Headers) { h.Quoted, h.ICMPType, h.ICMPCode = syn, 3, code }
	}
	for _, c := range []struct {
		name   string
		change func(*packet.Headers)
		want   AnswerResult
	}{
		{"accepted", func(h *packet.Headers) { h.TCPFlags = packet.SYN | packet.ACK }, Replied},
		{"refused", func(h *packet.Headers) { h.TCPFlags = packet.RST | packet.ACK }, Refused},
		{"rejected", quotes(3), Refused},
		{"unreachable", quotes(1), Unreachable},
	} {
		p := Journeys{Tuple: syn, From: ubuntuNS, Back: []*trace.Journey{back(c.change)}}
		if a, ok := p.answer(sent); !ok || a.Result != c.want || a.After != 2*time.Second {
			t.Errorf("%s: %+v, %v", c.name, a, ok)
		}
	}
	elsewhere := Journeys{Tuple: syn, From: ubuntuNS, Back: []*trace.Journey{journey(2, trace.Dropped, syn.Inverse(), hostNS)}}
	if a, ok := elsewhere.answer(sent); ok {
		t.Errorf("it did not come back: %+v", a)
	}
}
