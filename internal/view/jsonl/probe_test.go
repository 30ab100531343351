package jsonl_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/probe"
	"natlens/internal/view/jsonl"
	"natlens/internal/view/jsonl/jsonltest"
	"natlens/internal/view/viewtest"
	"natlens/netinfo/netfilter"
)

// What is expected tells each namespace's route, hooks, rules and translations.
func TestProbeTellsStages(t *testing.T) {
	host := viewtest.Topology()
	self := host.Namespace(host.Self)
	before := packet.NewTuple(packet.TCP, netip.MustParseAddr("172.24.0.2"), netip.MustParseAddr("198.51.100.7"), 49152, 80)
	after := packet.NewTuple(packet.TCP, netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.7"), 49152, 80)
	rule := netfilter.RuleRef{Backend: netfilter.IPTablesNFT, Family: "ip", Table: "nat", Chain: "POSTROUTING", Position: 1, Text: "-A POSTROUTING -j MASQUERADE"}
	o := &probe.Outcome{
		Request: probe.Request{From: "back", To: "198.51.100.7", Port: 80, Protocol: packet.TCP},
		Expected: &probe.Expectation{Result: probe.Reached, Stages: []probe.Stage{{
			Namespace: self, In: self.Links[0], Out: self.Links[0], Bridge: self.Links[0], Port: self.Links[0], How: probe.Routed, Ends: true, Delivered: true,
			Route: &probe.Route{To: before.Destination(), Gateway: netip.MustParseAddr("192.0.2.1"), Link: self.Links[0]},
			Hooks: []probe.Passage{{Hook: netfilter.Postrouting, Verdict: netfilter.Accepted, Steps: []netfilter.Step{
				{Hook: netfilter.Postrouting, Rule: &rule, Verdict: "masquerade"},
				{Hook: netfilter.Postrouting, Chain: netfilter.ChainRef{Backend: netfilter.IPTablesNFT, Family: "ip", Table: "nat", Name: "POSTROUTING"}, Verdict: "accept"},
			}}},
			Before: before, After: after,
			NAT: []probe.Translated{{NATRule: netfilter.NATRule{Kind: "masquerade", Hook: netfilter.Postrouting, Rule: rule}, Before: before, After: after}},
		}}},
	}
	line, err := jsonl.Probe(o)
	if err != nil {
		t.Fatal(err)
	}
	jsonltest.Validate(t, line)
	var got struct {
		Expected struct {
			Stages []struct {
				Route struct{ To, Gateway, Interface string }
				Hooks []struct {
					Hook, Verdict string
					Rules         []struct {
						Text, Verdict, Chain string
						Policy               bool
					}
				}
				Translations []struct {
					Kind  string
					After struct{ Source struct{ IP string } }
				}
			}
		}
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatal(err)
	}
	s := got.Expected.Stages[0]
	if s.Route.To != "198.51.100.7" || s.Route.Gateway != "192.0.2.1" || s.Route.Interface != self.Links[0].Name {
		t.Errorf("route %+v", s.Route)
	}
	if h := s.Hooks[0]; h.Hook != "postrouting" || h.Verdict != "accept" || len(h.Rules) != 2 || h.Rules[0].Text != rule.Text || !h.Rules[1].Policy || h.Rules[1].Chain != "POSTROUTING" {
		t.Errorf("hook %+v", h)
	}
	if x := s.Translations[0]; x.Kind != "masquerade" || x.After.Source.IP != "192.0.2.10" {
		t.Errorf("translation %+v", x)
	}
}
