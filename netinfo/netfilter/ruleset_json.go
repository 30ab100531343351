package netfilter

import (
	"encoding/json"
	"errors"
	"fmt"

	"natlens/netinfo/netns"
)

// The JSON of a Ruleset is for capture files, so that a packet can be judged
// where the rules are no longer: all that is evaluated is in it, in the kernel's
// own terms. Names are those of the Go fields, shortened where there are many of
// them.

type rulesetJSON struct {
	Namespace  netns.ID
	Time       int64
	Unreadable string      `json:",omitempty"`
	Tables     []tableJSON `json:",omitempty"`
	// Whole: there are the rules of all chains. A file may have those of NAT alone.
	Whole   bool             `json:",omitempty"`
	Marks   bool             `json:",omitempty"`
	Legacy  []LegacyTable    `json:",omitempty"`
	Links   map[int32]string `json:",omitempty"`
	Bridged [2]Fact          `json:",omitzero"`
	IPSets  []ipsetJSON      `json:",omitempty"`
	// Base chains by priority: table and chain, as indexes into Tables.
	Base [][2]int `json:",omitempty"`
}

type tableJSON struct {
	Family, Name string
	Legacy       bool        `json:",omitempty"` // of iptables-legacy
	Xtables      bool        `json:",omitempty"`
	Chains       []chainJSON `json:",omitempty"`
	Sets         []setJSON   `json:",omitempty"`
}

type chainJSON struct {
	Name         string
	Base         bool       `json:",omitempty"`
	NAT          bool       `json:",omitempty"`
	Type         string     `json:",omitempty"` // unless NAT says it
	Devices      []string   `json:",omitempty"`
	Hook         Hook       `json:",omitempty"`
	Priority     int32      `json:",omitempty"`
	Policy       int32      `json:",omitempty"`
	Passed       *Counter   `json:",omitempty"` // what came to it; null: not counted
	Incompatible bool       `json:",omitempty"`
	Rules        []ruleJSON `json:",omitempty"`
}

type ruleJSON struct {
	Ref         RuleRef
	Expressions []expressionJSON `json:",omitempty"`
	Comment     string           `json:",omitempty"`
}

type expressionJSON struct {
	Name      string    `json:"n"`
	Opaque    bool      `json:"o,omitempty"`
	Registers [2]uint32 `json:"r,omitzero"` // source, destination
	Has       [2]bool   `json:"h,omitzero"`
	Operation uint32    `json:"op,omitempty"`
	Key       uint32    `json:"k,omitempty"`
	Flags     uint32    `json:"fl,omitempty"`
	Family    uint32    `json:"fa,omitempty"`
	Payload   [3]uint32 `json:"p,omitzero"` // base, offset, length
	Data      []byte    `json:"d,omitempty"`
	Data2     []byte    `json:"d2,omitempty"`
	Set       string    `json:"s,omitempty"`
	Address   *uint32   `json:"a,omitempty"`
	AddressTo *uint32   `json:"a2,omitempty"`
	Port      *uint32   `json:"po,omitempty"`
	PortTo    *uint32   `json:"po2,omitempty"`
	Device    *uint32   `json:"dev,omitempty"`
	Extension string    `json:"x,omitempty"`
	XFamily   uint8     `json:"xf,omitempty"`
	XRevision uint32    `json:"xr,omitempty"`
	Prefix    string    `json:"pre,omitempty"`
	Counter   [2]uint64 `json:"c,omitzero"` // packets, bytes
	Limit     [3]uint64 `json:"l,omitzero"` // rate, unit, burst
	HasOp     bool      `json:"ho,omitempty"`

	Verdict *verdictJSON `json:"v,omitempty"`
}

type verdictJSON struct {
	Code  int32
	Chain string `json:",omitempty"`
}

type setJSON struct {
	Name       string
	Flags      uint32        `json:",omitempty"`
	KeyBytes   int           `json:",omitempty"`
	KeyType    uint32        `json:",omitempty"`
	DataType   uint32        `json:",omitempty"`
	Fields     []int         `json:",omitempty"`
	Elements   []elementJSON `json:",omitempty"`
	Unreadable bool          `json:",omitempty"`
	Undecoded  bool          `json:",omitempty"`
}

type elementJSON struct {
	Key     []byte       `json:"k"`
	KeyEnd  []byte       `json:"e"` // null: the key is one value
	Flags   uint32       `json:"f,omitempty"`
	Data    []byte       `json:"d,omitempty"`
	Verdict *verdictJSON `json:"v,omitempty"`
}

// MarshalJSON returns all that is evaluated.
func (r *Ruleset) MarshalJSON() ([]byte, error) {
	out := rulesetJSON{Namespace: r.Namespace, Time: r.Time, Whole: !r.natOnly, Marks: r.marks, Legacy: r.legacy, Links: r.links, Bridged: r.bridged}
	if r.Unreadable != nil {
		out.Unreadable = r.Unreadable.Error()
	}
	place := map[*chain][2]int{}
	for _, key := range r.keys() {
		t := r.tables[key]
		table := tableJSON{Family: key.family, Name: key.name, Legacy: key.legacy, Xtables: t.xtables}
		for _, name := range sortedNames(t.chains) {
			place[t.chains[name]] = [2]int{len(out.Tables), len(table.Chains)}
			table.Chains = append(table.Chains, t.chains[name].json())
		}
		for _, name := range sortedNames(t.sets) {
			table.Sets = append(table.Sets, t.sets[name].json())
		}
		out.Tables = append(out.Tables, table)
	}
	out.IPSets = r.jsonIPSets()
	for _, c := range r.base {
		if at, ok := place[c]; ok {
			out.Base = append(out.Base, at)
		}
	}
	return json.Marshal(out)
}

func (c *chain) json() chainJSON {
	out := chainJSON{
		Name: c.name, Base: c.base, NAT: c.kind == "nat", Devices: c.devices, Hook: c.hook, Priority: c.priority, Policy: c.policy, Incompatible: c.incompatible,
	}
	if !out.NAT {
		out.Type = c.kind
	}
	if c.policyCounts {
		out.Passed = &c.passed
	}
	for i := range c.rules {
		rule := ruleJSON{Ref: c.rules[i].ref, Comment: c.rules[i].comment}
		for k := range c.rules[i].expressions {
			rule.Expressions = append(rule.Expressions, c.rules[i].expressions[k].json())
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func (e *expression) json() expressionJSON {
	return expressionJSON{
		Name: e.name, Opaque: e.opaque,
		Registers: [2]uint32{e.source, e.destination}, Has: [2]bool{e.hasSource, e.hasDestination},
		Operation: e.operation, Key: e.key, Flags: e.flags, Family: e.family,
		Payload: [3]uint32{e.base, e.offset, e.length}, Data: e.data, Data2: e.data2, Set: e.set,
		Address: e.address.json(), AddressTo: e.addressTo.json(), Port: e.port.json(), PortTo: e.portTo.json(), Device: e.device.json(),
		Extension: e.extension, XFamily: e.extensionFamily, XRevision: e.revision, Prefix: e.prefix, Verdict: e.verdict.json(),
		Counter: [2]uint64{e.counter.Packets, e.counter.Bytes}, Limit: [3]uint64{e.limit.rate, e.limit.unit, uint64(e.limit.burst)}, HasOp: e.hasOperation,
	}
}

func (s *set) json() setJSON {
	out := setJSON{
		Name: s.name, Flags: s.flags, KeyBytes: s.keyBytes, KeyType: s.keyType, DataType: s.dataType, Fields: s.fields, Unreadable: s.unreadable,
		Undecoded: s.undecoded,
	}
	for _, e := range s.elements {
		out.Elements = append(out.Elements, elementJSON{Key: e.key, KeyEnd: e.keyEnd, Flags: e.flags, Data: e.data, Verdict: e.verdict.json()})
	}
	return out
}

func (r register) json() *uint32 {
	if !r.there {
		return nil
	}
	return &r.number
}

func (v verdict) json() *verdictJSON {
	if !v.there {
		return nil
	}
	return &verdictJSON{Code: v.code, Chain: v.chain}
}

// UnmarshalJSON reads what MarshalJSON wrote. What it can't refer to is an error.
func (r *Ruleset) UnmarshalJSON(b []byte) error {
	var in rulesetJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*r = Ruleset{Namespace: in.Namespace, Time: in.Time, natOnly: !in.Whole, marks: in.Marks, legacy: in.Legacy, links: in.Links, bridged: in.Bridged, tables: map[tableKey]*table{}}
	if in.Unreadable != "" {
		r.Unreadable = errors.New(in.Unreadable)
	}
	for _, t := range in.Tables {
		table := &table{chains: map[string]*chain{}, sets: map[string]*set{}, xtables: t.Xtables}
		for i := range t.Chains {
			table.chains[t.Chains[i].Name] = t.Chains[i].chain(tableKey{t.Family, t.Name, t.Legacy})
		}
		for i := range t.Sets {
			table.sets[t.Sets[i].Name] = t.Sets[i].set()
		}
		key := tableKey{t.Family, t.Name, t.Legacy}
		if r.tables[key] != nil {
			return fmt.Errorf("table %s %s is there twice", t.Family, t.Name)
		}
		r.tables[key] = table
	}
	r.learnIPSets(in.IPSets)
	for _, at := range in.Base {
		if at[0] < 0 || at[0] >= len(in.Tables) || at[1] < 0 || at[1] >= len(in.Tables[at[0]].Chains) {
			return errors.New("a base chain that is not among the chains")
		}
		t := &in.Tables[at[0]]
		r.base = append(r.base, r.tables[tableKey{t.Family, t.Name, t.Legacy}].chains[t.Chains[at[1]].Name])
	}
	return nil
}

func (c *chainJSON) chain(key tableKey) *chain {
	out := &chain{
		family: key.family, table: key.name, legacy: key.legacy, name: c.Name, base: c.Base, kind: c.Type, devices: c.Devices, hook: c.Hook, priority: c.Priority, policy: c.Policy,
		incompatible: c.Incompatible,
	}
	if c.NAT {
		out.kind = "nat"
	}
	if c.Passed != nil {
		out.passed, out.policyCounts = *c.Passed, true
	}
	for _, r := range c.Rules {
		made := rule{ref: r.Ref, comment: r.Comment}
		for i := range r.Expressions {
			made.expressions = append(made.expressions, r.Expressions[i].expression())
		}
		out.rules = append(out.rules, made)
	}
	return out
}

func (e *expressionJSON) expression() expression {
	return expression{
		name: e.Name, opaque: e.Opaque,
		source: e.Registers[0], destination: e.Registers[1], hasSource: e.Has[0], hasDestination: e.Has[1],
		operation: e.Operation, key: e.Key, flags: e.Flags, family: e.Family,
		base: e.Payload[0], offset: e.Payload[1], length: e.Payload[2], data: e.Data, data2: e.Data2, set: e.Set,
		address: registerOf(e.Address), addressTo: registerOf(e.AddressTo), port: registerOf(e.Port), portTo: registerOf(e.PortTo), device: registerOf(e.Device),
		extension: e.Extension, extensionFamily: e.XFamily, revision: e.XRevision, prefix: e.Prefix, verdict: e.Verdict.verdict(),
		counter: Counter{e.Counter[0], e.Counter[1]}, limit: limit{e.Limit[0], e.Limit[1], uint32(e.Limit[2])}, hasOperation: e.HasOp,
	}
}

func (s *setJSON) set() *set {
	out := &set{
		name: s.Name, flags: s.Flags, keyBytes: s.KeyBytes, keyType: s.KeyType, dataType: s.DataType, fields: s.Fields, unreadable: s.Unreadable,
		undecoded: s.Undecoded,
	}
	for _, e := range s.Elements {
		out.elements = append(out.elements, element{key: e.Key, keyEnd: e.KeyEnd, flags: e.Flags, data: e.Data, verdict: e.Verdict.verdict()})
	}
	return out
}

func registerOf(number *uint32) register {
	if number == nil {
		return register{}
	}
	return register{number: *number, there: true}
}

func (v *verdictJSON) verdict() verdict {
	if v == nil {
		return verdict{}
	}
	return verdict{there: true, code: v.Code, chain: v.Chain}
}
