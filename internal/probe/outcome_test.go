package probe

import (
	"errors"
	"testing"

	"natlens/capture/packet"
	"natlens/trace"
)

var (
	syn     = packet.NewTuple(packet.TCP, addr("172.17.0.2"), addr("192.0.2.10"), 40000, 8000)
	proxied = packet.NewTuple(packet.TCP, addr("172.24.0.1"), addr("172.24.0.2"), 41000, 8000)
)

// outcome is what is known of a probe from ubuntu when these journeys were told.
func outcome(protocol packet.Protocol, answer AnswerResult, journeys ...*trace.Journey) *Outcome {
	t := fixture()
	o := &Outcome{Request: Request{Protocol: protocol}, Answer: Answer{Result: answer}, Sent: Sent{Tuple: syn}}
	if answer == NotSent || answer == Forbidden || answer == Unreachable {
		o.Answer.Err = errors.New("no")
	}
	o.Source = Source{Name: "ubuntu", Namespace: t.Namespace(ubuntuNS)}
	o.Journeys = Journeys{Tuple: syn, From: ubuntuNS}
	for _, j := range journeys {
		o.Journeys.Add(j)
	}
	o.conclude()
	return o
}

func TestConclude(t *testing.T) {
	sent := func(r trace.Result) *trace.Journey { return journey(1, r, syn, ubuntuNS, hostNS) }
	back := func(r trace.Result) *trace.Journey {
		return related(journey(2, r, syn.Inverse(), hostNS, ubuntuNS), 1, "reply_to")
	}
	ruled := func(j *trace.Journey) *trace.Journey { j.Verdict.Rule = &trace.Rule{}; return j }
	reset := func(j *trace.Journey) *trace.Journey { j.Hops[0].Headers.TCPFlags = packet.RST | packet.ACK; return j }
	made := related(journey(3, trace.Delivered, proxied, hostNS, backNS), 1, "proxied_as")
	answer := func() *trace.Journey {
		return related(journey(4, trace.Delivered, proxied.Inverse(), backNS, hostNS), 3, "reply_to")
	}
	for _, c := range []struct {
		name     string
		protocol packet.Protocol
		answer   AnswerResult
		journeys []*trace.Journey
		want     Result
		answered bool // the cause is the answer's journey
	}{
		{"answered", packet.TCP, Replied, []*trace.Journey{sent(trace.Delivered), back(trace.Delivered)}, Reached, false},
		{"refused", packet.TCP, Refused, []*trace.Journey{sent(trace.Delivered), back(trace.Delivered)}, RefusedBy, false},
		{"dropped", packet.TCP, Silent, []*trace.Journey{sent(trace.Dropped)}, Dropped, false},
		{"rejected by a rule", packet.TCP, Refused, []*trace.Journey{ruled(sent(trace.Dropped))}, Dropped, false},
		{"lost", packet.TCP, Silent, []*trace.Journey{sent(trace.Vanished)}, Lost, false},
		{"no answer", packet.TCP, Silent, []*trace.Journey{sent(trace.Delivered)}, Lost, false},
		{"a datagram needs none", packet.UDP, Silent, []*trace.Journey{sent(trace.Delivered)}, Reached, false},
		{"but must arrive", packet.UDP, Silent, []*trace.Journey{sent(trace.Left)}, Lost, false},
		{"the answer dropped", packet.TCP, Silent, []*trace.Journey{sent(trace.Delivered), back(trace.Dropped)}, Dropped, true},
		{"the answer lost", packet.TCP, Silent, []*trace.Journey{sent(trace.Delivered), back(trace.Vanished)}, Lost, true},
		{"no tap", packet.TCP, Silent, nil, Lost, false},
		{"no route", packet.TCP, NotSent, nil, NoWay, false},
		{"own rule", packet.TCP, Forbidden, nil, Dropped, false},
		{"a router's word", packet.TCP, Unreachable, []*trace.Journey{sent(trace.Left)}, NoWay, false},
		{"behind a proxy", packet.TCP, Replied, []*trace.Journey{sent(trace.Delivered), back(trace.Delivered), made, answer()}, Reached, false},
		{"refused behind a proxy", packet.TCP, Replied, []*trace.Journey{sent(trace.Delivered), back(trace.Delivered), made, reset(answer())}, RefusedBy, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := outcome(c.protocol, c.answer, c.journeys...)
			if o.Result != c.want || o.Cause.Answer != c.answered {
				t.Errorf("%s (%+v), want %s", o.Result, o.Cause, c.want)
			}
		})
	}
}

func TestJourneys(t *testing.T) {
	p := Journeys{Tuple: syn, From: ubuntuNS}
	host := fixture()
	if p.Add(journey(9, trace.Delivered, syn, backNS)) {
		t.Error("equal numbers in another namespace, before the packet was seen")
	}
	sent := journey(1, trace.Delivered, syn, ubuntuNS, hostNS)
	if !p.Add(sent) || p.complete(false, host.Proxies) {
		t.Error("the packet alone")
	}
	if p.Add(journey(8, trace.Delivered, proxied, hostNS, backNS)) {
		t.Error("a packet that has nothing to do with it")
	}
	if !p.Add(journey(2, trace.Delivered, syn.Inverse(), hostNS, ubuntuNS)) || p.complete(false, host.Proxies) || !p.complete(false, nil) {
		t.Error("with its answer it is complete, unless a proxy took it")
	}
	if !p.Add(related(journey(3, trace.Delivered, proxied, hostNS, backNS), 1, "proxied_as")) || p.Proxied() == nil || p.complete(false, host.Proxies) {
		t.Error("the proxy's packet")
	}
	if !p.Add(related(journey(4, trace.Delivered, proxied.Inverse(), backNS, hostNS), 3, "reply_to")) || !p.complete(false, host.Proxies) {
		t.Error("the answer to the proxy")
	}
	refused := journey(5, trace.Delivered, packet.NewTuple(packet.ICMP, addr("172.17.0.1"), addr("172.17.0.2"), 0, 3<<8), hostNS, ubuntuNS)
	refused.Hops[0].Headers.Quoted = syn
	if !p.Add(refused) {
		t.Error("an error about it")
	}
	amended := journey(6, trace.Dropped, syn, ubuntuNS, hostNS)
	amended.Supersedes = 1
	if !p.Add(amended) || len(p.There) != 2 || p.There[0] != amended || len(p.Back) != 3 {
		t.Errorf("%d there, %d back, want 2 and 3", len(p.There), len(p.Back))
	}
}

func TestSilence(t *testing.T) {
	for result, complete := range map[trace.Result]bool{trace.Dropped: true, trace.Vanished: true, trace.Left: true, trace.Delivered: false} {
		p := Journeys{Tuple: syn, From: ubuntuNS}
		p.Add(journey(1, result, syn, ubuntuNS))
		if got := p.complete(true, nil); got != complete {
			t.Errorf("%s: complete %v", result, got)
		}
	}
}
