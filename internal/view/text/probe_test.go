package text

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/probe"
	"natlens/internal/view/viewtest"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// probed are outcomes of every kind, on the host of viewtest.
func probed() []*probe.Outcome {
	host := viewtest.Topology()
	out, back := viewtest.PingOut(7, 1), viewtest.PingReply(8, 1)
	self := host.Namespace(host.Self)
	source := probe.Source{Name: "back", Namespace: self}
	base := func(to string, protocol packet.Protocol, port uint16) *probe.Outcome {
		return &probe.Outcome{
			Request: probe.Request{From: "back", To: to, Port: port, Protocol: protocol}, Source: source,
			Destination: probe.Destination{Word: to, Address: out.To.IP},
			Sent:        probe.Sent{Tuple: out.Hops[0].Headers.Tuple},
		}
	}
	reached := base("198.51.100.7", packet.ICMP, 0)
	reached.Answer = probe.Answer{Result: probe.Replied, After: 312 * time.Microsecond}
	reached.Expected = &probe.Expectation{Result: probe.Reached, Stages: []probe.Stage{
		{Namespace: self, Out: self.Links[0], How: probe.Begins, NAT: []probe.Translated{{NATRule: netfilter.NATRule{Kind: "masquerade", Rule: netfilter.RuleRef{Chain: "POSTROUTING", Position: 1,
			Text: "-A POSTROUTING -s 172.24.0.0/16 ! -o br-4c1f22aa -j MASQUERADE"}}, Before: out.Hops[0].Headers.Tuple, After: out.Hops[len(out.Hops)-1].Headers.Tuple}}},
	}}
	reached.Journeys = probe.Journeys{There: []*trace.Journey{out, out}, Back: []*trace.Journey{back}}
	reached.Result = probe.Reached

	dropped := base("web", packet.TCP, 8000)
	stopped := *out
	stopped.Verdict = trace.Verdict{Result: trace.Dropped, Hop: 1, Hook: netfilter.Forward, By: "DOCKER-ISOLATION-STAGE-2 #1", Evidence: trace.ByRules}
	dropped.Destination.Network = "web_net"
	dropped.Destination.Lookup = probe.Lookup{Asked: true, How: "no network has both of them"}
	dropped.Destination.Container, dropped.Source.Container = &netinfo.Container{}, &netinfo.Container{Container: docker.Container{Name: "back"}}
	dropped.Expected = &probe.Expectation{Result: probe.Dropped, Reason: "dropped at forward by DOCKER-ISOLATION-STAGE-2, rule 1",
		Rule: &netfilter.RuleRef{Chain: "DOCKER-ISOLATION-STAGE-2", Position: 1, Text: "-A DOCKER-ISOLATION-STAGE-2 -o br-4c1f22aa -j DROP"}}
	stopped.Verdict.Rule = &trace.Rule{RuleRef: *dropped.Expected.Rule}
	dropped.Answer = probe.Answer{Result: probe.Silent}
	dropped.Journeys = probe.Journeys{There: []*trace.Journey{&stopped}}
	dropped.Result, dropped.Cause.Journey = probe.Dropped, &stopped

	forItself := base("database", packet.TCP, 9000)
	forItself.Expected = &probe.Expectation{Result: probe.RefusedBy, Reason: "on tcp port 9000 database listens for itself only, at 127.0.0.1",
		Loopback: netip.MustParseAddr("127.0.0.1")}
	forItself.Answer = probe.Answer{Result: probe.Refused}
	forItself.Result = probe.RefusedBy

	surprised := *reached
	surprised.Expected = &probe.Expectation{Result: probe.Dropped, Reason: "dropped at forward by the policy of FORWARD"}
	unsure := *reached
	unsure.Expected = &probe.Expectation{Result: probe.Reached, Unsure: "what is behind eth0 is not on this host"}

	lost := base("198.51.100.7", packet.TCP, 80)
	lost.Answer = probe.Answer{Result: probe.Silent}
	lost.Journeys.There = []*trace.Journey{out}
	lost.Result, lost.Cause.Journey = probe.Lost, out

	halfSeen := *lost
	cut := *out
	cut.Verdict = trace.Verdict{Result: trace.Unfinished, Hop: 1, Reason: "unknown: ring lost 12", Evidence: trace.ByTap}
	halfSeen.Source = probe.Source{Name: "eth0", Namespace: self, Link: self.Links[0]}
	halfSeen.Destination.Lookup = probe.Lookup{Asked: true, How: "outside of containers nobody asks the engine's DNS"}
	halfSeen.Destination.Word = "server.example"
	halfSeen.Expected = &probe.Expectation{Result: probe.Dropped, Reason: "dropped at forward by the policy of FORWARD"}
	halfSeen.Journeys.There, halfSeen.Cause.Journey = []*trace.Journey{&cut}, &cut

	unresolved := &probe.Outcome{Request: probe.Request{From: "back", To: "server.example", Protocol: packet.ICMP}, Source: source,
		Result: probe.Unresolved, Cause: probe.Cause{Reason: "127.0.0.11 says that there is no such name (NXDOMAIN)"}}
	unresolved.Destination.Word = "server.example"
	unresolved.Queries = []probe.Query{{Server: netip.MustParseAddr("127.0.0.11"), Name: "server.example.", Type: "A"},
		{Server: netip.MustParseAddr("127.0.0.11"), Name: "server.example.", Type: "AAAA"}}

	forbidden := base("198.51.100.7", packet.UDP, 53)
	forbidden.Sent = probe.Sent{}
	forbidden.Answer = probe.Answer{Result: probe.Forbidden, Err: errors.New("operation not permitted")}
	forbidden.Result, forbidden.Cause.Reason = probe.Dropped, "the kernel did not let it out: a rule of back's own output stopped it"

	failed := &probe.Outcome{Failed: errors.New("enter back\x1b[2J: no such process")}
	return []*probe.Outcome{reached, dropped, forItself, &surprised, &unsure, lost, &halfSeen, unresolved, forbidden, failed}
}

func TestProbeGolden(t *testing.T) {
	for name, style := range map[string]Style{
		"probe": {Names: true}, "probe-40": {Names: true, Width: 40}, "probe-ascii": {Names: true, ASCII: true}, "probe-color": {Names: true, Color: true},
	} {
		t.Run(name, func(t *testing.T) {
			style.Zone = time.UTC
			var b strings.Builder
			for _, o := range probed() {
				b.WriteString(style.Probe(Detail{}, o, time.Second) + "\n")
			}
			b.WriteString("Only foretold:\n")
			for _, o := range probed() {
				if o.Sent == (probe.Sent{}) || o.Expected != nil {
					b.WriteString(style.Prediction(Detail{}, o) + "\n")
				}
			}
			golden(t, name, style, b.String())
		})
	}
}

// What differs from what was expected is said in words.
func TestProbeSaysWhatDiffers(t *testing.T) {
	all := probed()
	other := *all[1]
	other.Expected = &probe.Expectation{Result: probe.Dropped, Rule: &netfilter.RuleRef{Chain: "DOCKER-USER", Position: 3}}
	lost := *all[5]
	lost.Expected = &probe.Expectation{Result: probe.Dropped, Reason: "dropped at forward by DOCKER-USER, rule 3", Stages: []probe.Stage{{Namespace: &netinfo.Namespace{ID: 77}}}}
	answer := lost
	answer.Expected = &probe.Expectation{Result: probe.Dropped, Answer: true, Reason: "the answer is dropped at output by OUTPUT, rule 1, in web"}
	rejected := *all[1]
	rejected.Expected = &probe.Expectation{Result: probe.Dropped, Rule: &netfilter.RuleRef{Chain: "DOCKER-USER", Position: 3}}
	stopped := *rejected.Cause.Journey
	stopped.Verdict = trace.Verdict{Result: trace.Dropped, Hop: 2, Reason: "port unreachable, says 172.24.0.1 (#2)", Evidence: trace.ByReply}
	rejected.Cause = probe.Cause{Journey: &stopped, Rule: rejected.Expected.Rule, Reason: "rejected at forward by DOCKER-USER, rule 3"}
	rejected.Answer = probe.Answer{Result: probe.Refused, After: time.Millisecond, Objection: &probe.Objection{From: netip.MustParseAddr("203.0.113.1"), Type: 3, Code: 3}}
	for _, c := range []struct {
		o    *probe.Outcome
		says string
	}{
		{&other, "as expected but for the rule: DOCKER-ISOLATION-STAGE-2, rule 1, not DOCKER-USER, rule 3."},
		{&lost, "LOST: it left by eth0, and nothing came back; it was expected to be dropped at forward by DOCKER-USER, rule 3."},
		{&answer, "nothing came back; it was expected that the answer is dropped at output by OUTPUT, rule 1, in web."},
		{&rejected, "DROPPED: after br-4c1f22aa: port unreachable, says 172.24.0.1 (#2) [reply]; rejected at forward by DOCKER-USER, rule 3 [evaluated], as expected."},
		{&rejected, "answer port unreachable, says 203.0.113.1, after 1 ms"},
	} {
		if got := strings.Join(strings.Fields((Style{Names: true}).Probe(Detail{}, c.o, time.Second)), " "); !strings.Contains(got, c.says) {
			t.Errorf("not %q in\n%s", c.says, got)
		}
	}
}

// In full, a prediction shows of each namespace the route, the rules that decide and the
// links; what only leads to a chain is left out.
func TestPredictionInFull(t *testing.T) {
	o := probed()[0]
	s := &o.Expected.Stages[0]
	s.In, s.Bridge, s.How = s.Namespace.LinkByName("vethab12cd0"), s.Namespace.LinkByName("br-4c1f22aa"), probe.Routed
	s.Route = &probe.Route{To: netip.MustParseAddr("198.51.100.7"), Gateway: netip.MustParseAddr("192.0.2.1"), Link: s.Out}
	jump := netfilter.RuleRef{Text: "-A FORWARD -j DOCKER-USER"}
	accept := netfilter.RuleRef{Backend: netfilter.NFTables, Family: "ip", Table: "filter", Chain: "FORWARD", Position: 6, Text: "accept"}
	s.Hooks = []probe.Passage{
		{Hook: netfilter.Prerouting, Verdict: netfilter.Accepted, Steps: []netfilter.Step{{Verdict: "accept"}}},
		{Hook: netfilter.Forward, Verdict: netfilter.Accepted, Steps: []netfilter.Step{{Rule: &jump, Verdict: "jump DOCKER-USER"}, {Rule: &accept, Verdict: "accept"}}},
		{Hook: netfilter.Postrouting, Verdict: netfilter.Dropped, Steps: []netfilter.Step{
			{Rule: &s.NAT[0].Rule, Verdict: "masquerade"}, {Verdict: "drop", Chain: netfilter.ChainRef{Name: "POSTROUTING"}},
		}},
		{Hook: netfilter.Egress},
	}
	style := Style{Names: true}
	golden(t, "probe-full", style, style.Prediction(Detail{Verbose: true}, o))
}

func TestPolicyLine(t *testing.T) {
	all := probed()
	rule := probe.Rule{Request: all[0].Request, Want: probe.Reached}
	style := Style{Names: true}
	if got, want := style.PolicyLine("paths.txt:3", rule, all[0], false, time.Second), "ok   back -> 198.51.100.7 reached\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	rule.Want = probe.Dropped
	got := style.PolicyLine("paths.txt:3", rule, all[0], false, time.Second)
	if !strings.HasPrefix(got, "FAIL back -> 198.51.100.7 should be dropped, was reached\n     ") || !strings.Contains(got, "REACHED: ") {
		t.Errorf("%q", got)
	}
	if got := style.PolicyLine("paths.txt:3", rule, all[len(all)-1], false, time.Second); !strings.HasPrefix(got, "?    ") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	gone := &probe.Outcome{Failed: &probe.NotASource{Word: "web_net", Reason: "that is a network; FROM is a container, a link or host"}}
	if got, want := style.PolicyLine("paths.txt:3", rule, gone, false, time.Second), "FAIL back -> 198.51.100.7 cannot be checked (paths.txt:3): web_net: that is a\n     network; FROM is a container, a link or host\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	foretold := *all[0]
	foretold.Result, rule.Want = "", probe.Reached
	if got, want := style.PolicyLine("paths.txt:3", rule, &foretold, false, time.Second), "ok   back -> 198.51.100.7 reached\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	rule.Want = probe.Dropped
	if got := style.PolicyLine("paths.txt:3", rule, &foretold, false, time.Second); !strings.HasPrefix(got, "FAIL back -> 198.51.100.7 should be dropped, is expected to be reached\n     expected") {
		t.Errorf("%q", got)
	}
	foretold.Expected = &probe.Expectation{Result: probe.Dropped, Unsure: "a set"}
	if got := style.PolicyLine("paths.txt:3", rule, &foretold, false, time.Second); !strings.HasPrefix(got, "FAIL back -> 198.51.100.7 should be dropped, and what is expected is not sure\n") {
		t.Errorf("%q", got)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	for _, o := range []*probe.Outcome{
		{Result: probe.Reached, Answer: probe.Answer{Result: probe.Replied, After: 300 * time.Microsecond}},
		{Result: probe.Lost},
		{Result: probe.Reached, Answer: probe.Answer{Result: probe.Replied, After: 120 * time.Microsecond}},
		{Failed: errors.New("no")},
	} {
		tally.Add(o)
	}
	if got, want := (Style{}).Tally(&tally), "4 probes: 2 reached, 1 lost, 1 not probed; answers after 120 µs to 300 µs\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
