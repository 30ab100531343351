package netfilter

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"natlens/capture/packet"
)

// checkJSON holds a Ruleset against itself after it was JSON. The tests that read
// rules from a kernel do it with each.
func checkJSON(t *testing.T, r *Ruleset) {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Ruleset
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	same := cmp.Options{
		cmp.AllowUnexported(Ruleset{}, table{}, chain{}, rule{}, expression{}, register{}, verdict{}, set{}, element{}, tableKey{}, limit{}, ipset{}, ipsetMember{}, ipsetKey{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b error) bool { return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error()) }),
		cmpopts.EquateEmpty(),
	}
	if diff := cmp.Diff(r, &back, same); diff != "" {
		t.Errorf("-before +after JSON\n%s", diff)
	}
	// Whether a key has an end decides its meaning.
	for key, table := range back.tables {
		for name, s := range table.sets {
			for i, e := range s.elements {
				if was := r.tables[key].sets[name].elements[i]; (e.keyEnd == nil) != (was.keyEnd == nil) {
					t.Errorf("set %s, element %d: end of the key %v, was %v", name, i, e.keyEnd, was.keyEnd)
				}
			}
		}
	}
}

func TestRulesetSurvivesJSON(t *testing.T) {
	nat := &chain{family: "ip", table: "nat", name: "POSTROUTING", base: true, kind: "nat", hook: Postrouting, priority: 100, policy: 1, incompatible: true,
		rules: []rule{{ref: RuleRef{Backend: NFTables, Family: "ip", Table: "nat", Chain: "POSTROUTING", Position: 3, Handle: 9, Text: "masquerade"}, comment: "why", expressions: []expression{{
			name: "nat", opaque: true, source: 1, destination: 2, hasSource: true, hasDestination: true, operation: 3, key: 4, flags: 5, family: 6,
			base: 7, offset: 8, length: 9, data: []byte{10}, data2: []byte{11}, set: "s", address: register{0, true}, port: register{12, true},
			addressTo: register{13, true}, portTo: register{14, true}, verdict: verdict{true, -3, "x"}, extension: "comment", extensionFamily: 2, revision: 1, prefix: "p",
			counter: Counter{15, 16}, limit: limit{17, 18, 19}, hasOperation: true,
		}}}}}
	checkJSON(t, &Ruleset{
		Namespace: 4026531840, Time: 5, Unreadable: errors.New("not readable"), marks: true, legacy: []LegacyTable{{Family: "ip", Name: "nat"}}, base: []*chain{nat},
		tables: map[tableKey]*table{
			{family: "ip", name: "nat"}: {xtables: true, chains: map[string]*chain{"POSTROUTING": nat}, sets: map[string]*set{"s": {
				name: "s", flags: 1, keyBytes: 2, keyType: 3, dataType: 4, fields: []int{5}, unreadable: true,
				elements: []element{{key: []byte{1}, keyEnd: []byte{}, flags: 2, data: []byte{3}, verdict: verdict{true, 0, ""}}, {key: []byte{4}}},
			}}},
			{family: "ip6", name: "nat"}: {},
		},
	})
	old := &chain{family: "ip", table: "filter", name: "FORWARD", legacy: true, base: true, kind: "filter", hook: Forward, policy: 0, devices: []string{"eth0"}}
	checkJSON(t, &Ruleset{
		natOnly: true, bridged: [2]Fact{True, False}, links: map[int32]string{2: "eth0"}, base: []*chain{old},
		tables: map[tableKey]*table{{"ip", "filter", true}: {chains: map[string]*chain{"FORWARD": old}, sets: map[string]*set{"s": {name: "s", undecoded: true}}}},
	})
	checkJSON(t, &Ruleset{tables: map[tableKey]*table{}})
}

func TestJSONThatIsNoRuleset(t *testing.T) {
	for _, b := range []string{`{"Base":[[0,0]]}`, `{"Tables":[{"Chains":[{"Name":"x"}]}],"Base":[[0,1]]}`, `{"Tables":[{}],"Base":[[-1,0]]}`, `[]`} {
		if err := json.Unmarshal([]byte(b), &Ruleset{}); err == nil {
			t.Errorf("%s was taken", b)
		}
	}
	// What refers to nothing must not make the evaluation fail.
	var r Ruleset
	if err := json.Unmarshal([]byte(`{"Tables":[{"Family":"ip","Name":"nat","Chains":[{"Name":"P","Base":true,"NAT":true,"Hook":"postrouting","Rules":[{"Expressions":[{"n":"lookup","s":"none"},{"n":"immediate","v":{"Code":-3,"Chain":"none"}}]}]}]}],"Base":[[0,0]]}`), &r); err != nil {
		t.Fatal(err)
	}
	if m := r.NAT(Postrouting, Packet{}); m.Certainty == Covered {
		t.Errorf("%+v", m)
	}
}

// A file need not come from natlens: whatever its rules are, asking them ends.
func FuzzRulesetJSON(f *testing.F) {
	f.Add([]byte(`{"Tables":[{"Family":"ip","Name":"nat","Chains":[{"Name":"P","Base":true,"NAT":true,"Hook":"postrouting","Rules":[` +
		`{"Expressions":[{"n":"payload","r":[0,1],"h":[false,true],"p":[1,12,4]},{"n":"cmp","r":[1,0],"h":[true,false],"d":"rBEAAg=="},{"n":"masq"}]},` +
		`{"Expressions":[{"n":"meta","k":7,"r":[0,8],"h":[false,true]},{"n":"lookup","r":[8,0],"h":[true,false],"s":"s"},{"n":"immediate","v":{"Code":-3,"Chain":"P"}}]},` +
		`{"Expressions":[{"n":"bitwise","r":[1,1],"h":[true,true],"p":[0,0,4],"d":"AAAA","d2":"AA=="},{"n":"match","x":"addrtype","d":"AAAAAAAAAAAAAAAA","xr":1},{"n":"target","x":"DNAT","d":"AAAA","xr":2}]}` +
		`]}],"Sets":[{"Name":"s","Flags":4,"KeyBytes":4,"Fields":[4],"Elements":[{"k":"rBEAAg==","e":"rBEAAw==","v":{"Code":-4,"Chain":"P"}}]}]}],"Base":[[0,0]]}`))
	tuples := []packet.Tuple{
		packet.NewTuple(packet.TCP, netip.MustParseAddr("172.17.0.2"), netip.MustParseAddr("198.51.100.7"), 4711, 80),
		packet.NewTuple(packet.ICMPv6, netip.MustParseAddr("fd00::2"), netip.MustParseAddr("2001:db8::7"), 7, 128<<8),
		{},
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Ruleset
		if json.Unmarshal(b, &r) != nil {
			return
		}
		for _, hook := range []Hook{Prerouting, Input, Output, Postrouting} {
			for _, tuple := range tuples {
				p := Packet{Tuple: tuple, InLink: "eth0", OutLink: "docker0", LocalAddress: func(netip.Addr) bool { return true }}
				r.NAT(hook, p)
				for _, state := range []State{StateUnknown, StateNew, StateEstablished} {
					p.State = state
					r.Walk(Path{hook, Forward}, p)
				}
			}
		}
		r.Chains()
		r.Rules()
		r.SetsMarks()
	})
}
