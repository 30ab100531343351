package netfilter

import (
	"slices"
	"strconv"
)

// chain is one chain of one table.
type chain struct {
	family string // ip, ip6, inet, bridge, arp, netdev
	table  string
	name   string
	legacy bool // of iptables-legacy
	base   bool
	kind   string // of base chains: filter, nat, route
	hook   Hook   // base chains
	// devices are the links at whose ingress or egress a base chain is.
	devices []string
	// priority orders base chains at one hook, the least first.
	priority int32
	policy   int32
	// passed is what came to the policy, where policyCounts. With iptables-legacy it
	// always does, with nf_tables where who made the chain asked for it.
	passed       Counter
	policyCounts bool
	rules        []rule
	// incompatible: some rule could not be decoded at all.
	incompatible bool
}

// rule is one rule of a chain.
type rule struct {
	ref         RuleRef
	expressions []expression
	comment     string // of the rule itself, as nft keeps it
}

// tableKey names a table in its namespace. A table of iptables-legacy may have
// the name of one of nf_tables.
type tableKey struct {
	family, name string
	legacy       bool
}

func (c *chain) key() tableKey { return tableKey{c.family, c.table, c.legacy} }

// table is what the rules of one table refer to.
type table struct {
	chains map[string]*chain
	sets   map[string]*set
	// xtables: iptables-nft made and owns this table. It is taken for such
	// when it is a table of iptables in ip or ip6 and all of its base chains
	// are the ones that iptables makes, at the place where it puts them;
	// iptables-nft itself refuses to touch any other ("table is
	// incompatible").
	xtables bool
}

// xtablesPriorities are where iptables puts its chains
// (iptables/nft.c, xtables_ipv4). Hooks differ in the nat table alone.
var xtablesPriorities = map[string]map[string]int32{
	"nat":      {"PREROUTING": -100, "INPUT": 100, "OUTPUT": -100, "POSTROUTING": 100},
	"filter":   {"INPUT": 0, "FORWARD": 0, "OUTPUT": 0},
	"mangle":   {"PREROUTING": -150, "INPUT": -150, "FORWARD": -150, "OUTPUT": -150, "POSTROUTING": -150},
	"raw":      {"PREROUTING": -300, "OUTPUT": -300},
	"security": {"INPUT": 150, "FORWARD": 150, "OUTPUT": 150},
}

var hookOfXtablesChain = map[string]Hook{
	"PREROUTING": Prerouting, "INPUT": Input, "FORWARD": Forward, "OUTPUT": Output, "POSTROUTING": Postrouting,
}

// familyNumbers are those of nf_tables (NFPROTO_*).
var familyNumbers = map[string]uint8{"inet": familyInet, "ip": familyIPv4, "arp": 3, "netdev": 5, "bridge": 7, "ip6": familyIPv6}

var familyNames = func() map[uint8]string {
	names := map[uint8]string{}
	for name, number := range familyNumbers {
		names[number] = name
	}
	return names
}()

// isXtables decides table.xtables.
func isXtables(key tableKey, chains map[string]*chain) bool {
	places := xtablesPriorities[key.name]
	if key.legacy {
		return true
	}
	if places == nil || key.family != "ip" && key.family != "ip6" {
		return false
	}
	base := 0
	for _, c := range chains {
		if !c.base {
			continue
		}
		base++
		if priority, known := places[c.name]; !known || priority != c.priority || hookOfXtablesChain[c.name] != c.hook {
			return false
		}
	}
	return base > 0
}

// decodeChain reads the attributes of NFT_MSG_NEWCHAIN.
func decodeChain(a attributes, family string) (c *chain, ok bool) {
	c = &chain{family: family, policy: verdictAccept}
	ok = true
	for {
		kind, value, more := a.next()
		if !more {
			return c, ok && a.spent() && c.name != ""
		}
		good := true
		switch kind {
		case 1:
			c.table = text(value)
		case 3:
			c.name = text(value)
		case 4:
			c.base = true
			good = c.decodeHook(value)
		case 5:
			var v uint32
			v, good = be32(value)
			c.policy = int32(v)
		case 7:
			c.kind = text(value)
		case 8:
			c.passed, c.policyCounts = decodeChainCounters(value), true
		}
		ok = ok && good
	}
}

// decodeChainCounters reads NFTA_CHAIN_COUNTERS (enum nft_counter_attributes).
func decodeChainCounters(b []byte) (n Counter) {
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			return n
		}
		switch kind {
		case 1:
			n.Bytes, _ = be64(value)
		case 2:
			n.Packets, _ = be64(value)
		}
	}
}

// hooks in the kernel's order (enum nf_inet_hooks).
var hooks = [...]Hook{Prerouting, Input, Forward, Output, Postrouting}

// hookOf names a hook by its number, which depends on the family: netdev counts
// its own, inet has ingress behind the others, arp has but two and forward.
func hookOf(family string, number uint32) Hook {
	switch {
	case family == "netdev" && number < 2:
		return [...]Hook{Ingress, Egress}[number]
	case family == "arp" && number < 3:
		return [...]Hook{Input, Output, Forward}[number]
	case family == "inet" && number == uint32(len(hooks)):
		return Ingress
	case family != "netdev" && family != "arp" && number < uint32(len(hooks)):
		return hooks[number]
	}
	return Hook("hook " + strconv.Itoa(int(number)))
}

// decodeHook reads NFTA_CHAIN_HOOK.
func (c *chain) decodeHook(b []byte) (ok bool) {
	ok = true
	a := attributes(b)
	for {
		kind, value, more := a.next()
		if !more {
			return ok && a.spent()
		}
		var v uint32
		good := true
		switch kind {
		case 1:
			v, good = be32(value)
			c.hook = hookOf(c.family, v)
		case 2:
			v, good = be32(value)
			c.priority = int32(v)
		case 3:
			c.devices = append(c.devices, text(value))
		case 4:
			for list := attributes(value); ; {
				kind, name, more := list.next()
				if !more {
					break
				}
				const prefix = 2 // NFTA_DEVICE_PREFIX, Linux 6.16
				device := text(name)
				if kind == prefix {
					device += "*"
				}
				c.devices = append(c.devices, device)
			}
		}
		ok = ok && good
	}
}

// decodeRule reads the attributes of NFT_MSG_NEWRULE.
func decodeRule(a attributes, family string, number uint8) (r rule, ok bool) {
	r.ref.Family = family
	ok = true
	for {
		kind, value, more := a.next()
		if !more {
			return r, ok && a.spent()
		}
		good := true
		switch kind {
		case 1:
			r.ref.Table = text(value)
		case 2:
			r.ref.Chain = text(value)
		case 3:
			r.ref.Handle, good = be64(value)
		case 4:
			r.expressions, good = decodeExpressions(value, number)
		case 7:
			r.comment = decodeComment(value)
		}
		ok = ok && good
	}
}

// decodeComment finds the comment in a rule's user data: a list of type, length
// and value, a byte each but for the value (libnftnl, NFTNL_UDATA_RULE_COMMENT).
func decodeComment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return text(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// usedSets returns the names of the sets that the table's rules look into.
func (t *table) usedSets() map[string]bool {
	names := map[string]bool{}
	for _, c := range t.chains {
		for i := range c.rules {
			for j := range c.rules[i].expressions {
				if e := &c.rules[i].expressions[j]; e.name == "lookup" {
					names[e.set] = true
				}
			}
		}
	}
	return names
}

// setsMark reports whether an expression may change the packet's mark.
func (e *expression) setsMark() bool {
	switch e.name {
	case "meta":
		return e.opaque || e.hasSource && e.key == metaMark
	case "target":
		switch e.extension {
		case "MARK", "CONNMARK", "TPROXY", "SET":
			return true
		}
	}
	return false
}

// finish puts together what evaluating needs, once all has been read: the base
// chains in order, each rule's backend and text.
func (r *Ruleset) finish() {
	for key, t := range r.tables {
		t.xtables = isXtables(key, t.chains)
		for _, c := range t.chains {
			if c.base {
				r.base = append(r.base, c)
			}
			for i := range c.rules {
				c.rules[i].describe(key, t, r.links)
				t.changesBy(&c.rules[i])
			}
		}
	}
	r.order()
	r.marks = r.marksOutsideNAT()
}

// changesBy notes which sets the packets that meet a rule change. What is in them now is
// not what was in them when a packet asked; who made them need not have said that they
// are dynamic.
func (t *table) changesBy(r *rule) {
	for i := range r.expressions {
		e := &r.expressions[i]
		if s := t.sets[e.set]; e.name == "dynset" && s != nil {
			s.unreadable, s.undecoded = true, true
		}
	}
}

// marksOutsideNAT reports whether a rule that no NAT chain leads to sets marks.
func (r *Ruleset) marksOutsideNAT() bool {
	reached := map[*chain]bool{}
	for _, c := range r.base {
		if c.kind == "nat" {
			r.reach(c, reached)
		}
	}
	for _, t := range r.tables {
		for _, c := range t.chains {
			if !reached[c] && c.setsMark() {
				return true
			}
		}
	}
	return false
}

// setsMark reports whether a rule of the chain sets packet marks.
func (c *chain) setsMark() bool {
	return slices.ContainsFunc(c.rules, func(r rule) bool {
		return slices.ContainsFunc(r.expressions, func(e expression) bool { return e.setsMark() })
	})
}

// asksForIndex reports whether a rule asks for a link by its index.
func (r *Ruleset) asksForIndex() bool {
	for _, t := range r.tables {
		for _, c := range t.chains {
			for i := range c.rules {
				for j := range c.rules[i].expressions {
					if e := &c.rules[i].expressions[j]; e.name == "meta" && (e.key == metaIIF || e.key == metaOIF) || e.device.there {
						return true
					}
				}
			}
		}
	}
	return false
}
