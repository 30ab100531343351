package text

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"natlens/internal/view/viewtest"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// TestWalk: the short form has the rules that decided, -v has all, each at its
// hook's place among the translations, and a translation's rule once.
func TestWalk(t *testing.T) {
	cases := viewtest.Cases()
	i := slices.IndexFunc(cases, func(c viewtest.Case) bool {
		tr := c.Journey.Translations
		return len(tr) == 1 && tr[0].Hook == netfilter.Postrouting && tr[0].Rule != nil && tr[0].Between[0] >= 0 && tr[0].Between[1] > 0
	})
	if i < 0 {
		t.Fatal("no journey with a masquerade")
	}
	j := *cases[i].Journey
	between := j.Translations[0].Between
	met := func(hook netfilter.Hook, chain, text string, verdict netfilter.HitVerdict, target string) trace.Rule {
		r := trace.Rule{Evidence: trace.ByTrace, Met: &trace.Met{Namespace: "host", Hook: hook, Between: between, Verdict: verdict, Target: target, Policy: text == ""}}
		r.Family, r.Table, r.Chain, r.Text = "ip", "filter", chain, text
		return r
	}
	masquerade := met(netfilter.Postrouting, "POSTROUTING", "", netfilter.Accept, "")
	masquerade.RuleRef, masquerade.Met.Policy = j.Translations[0].Rule.RuleRef, false
	j.Rules = []trace.Rule{
		met(netfilter.Prerouting, "PREROUTING", "", netfilter.Accept, ""),
		met(netfilter.Forward, "FORWARD", "-A FORWARD -j USER", netfilter.Jump, "USER"),
		met(netfilter.Forward, "USER", "-A USER -j LOG", netfilter.Continue, ""),
		met(netfilter.Forward, "USER", "-A USER -j ACCEPT", netfilter.Accept, ""),
		masquerade,
	}
	for verbose, want := range map[bool][]string{
		false: {"forward: -A USER -j ACCEPT  accept", "becomes"},
		true: {"prerouting: policy of ip filter PREROUTING  accept", "forward: -A FORWARD -j USER  jump USER", "forward: -A USER -j LOG  goes on",
			"forward: -A USER -j ACCEPT  accept", "becomes"},
	} {
		card := Style{Width: 120}.Card(Detail{Verbose: verbose}, &j)
		var got []string
		for line := range strings.Lines(card) {
			line = strings.TrimSpace(line)
			if hook, _, ok := strings.Cut(line, ": "); ok && slices.Contains(hooksInOrder, netfilter.Hook(hook)) {
				got = append(got, line)
			} else if strings.Contains(line, " becomes ") {
				got = append(got, "becomes")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("verbose %v: %q, want %q in\n%s", verbose, got, want, card)
		}
		if n := strings.Count(card, j.Translations[0].Rule.Text); n != 1 {
			t.Errorf("verbose %v: the rule of the translation stands %d times in\n%s", verbose, n, card)
		}
	}
}

// TestWalkOfFrames: rules at a link and of a bridge stand where the packet met them,
// around the translation: none is left out because of its hook.
func TestWalkOfFrames(t *testing.T) {
	cases := viewtest.Cases()
	i := slices.IndexFunc(cases, func(c viewtest.Case) bool {
		tr := c.Journey.Translations
		return len(tr) == 1 && tr[0].Hook == netfilter.Postrouting && tr[0].Between[0] >= 0 && tr[0].Between[1] > 0
	})
	if i < 0 {
		t.Fatal("no journey with a masquerade")
	}
	j := *cases[i].Journey
	j.Rules = nil
	for _, met := range []struct {
		family string
		hook   netfilter.Hook
	}{
		{"ip", netfilter.Prerouting}, {"bridge", netfilter.Input}, {"netdev", netfilter.Ingress}, {"ip", netfilter.Forward}, {"", ""}, {"ip", netfilter.Postrouting},
		{"netdev", netfilter.Egress}, {"bridge", netfilter.Output}, {"bridge", netfilter.Postrouting}, {"netdev", netfilter.Egress},
	} {
		r := trace.Rule{Evidence: trace.ByTrace, Met: &trace.Met{Namespace: "host", Hook: met.hook, Between: j.Translations[0].Between, Verdict: netfilter.Accept}}
		r.Family, r.Table, r.Chain, r.Text = met.family, "t", "c", fmt.Sprintf("counter accept comment %q", fmt.Sprint(len(j.Rules)))
		j.Rules = append(j.Rules, r)
	}
	card := Style{Width: 120}.Card(Detail{}, &j)
	var got []string
	for _, found := range regexp.MustCompile(`(?m)^ +(\w+): counter accept comment "(\d+)"| becomes `).FindAllStringSubmatch(card, -1) {
		got = append(got, strings.TrimSpace(found[1]+" "+found[2]))
	}
	want := []string{
		"prerouting 0", "input 1", "ingress 2", "forward 3", "rule 4", "postrouting 5", "", "egress 6", "output 7", "postrouting 8", "egress 9",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q in\n%s", got, want, card)
	}
}
