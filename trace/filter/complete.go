package filter

import (
	"slices"
	"strings"

	"natlens/capture"
	"natlens/trace"
)

// complete reads primitives that need no identifier, or a number that belongs to
// them alone. It reports false when there is none.
func (p *parser) complete() (node, bool, error) {
	t := p.peek()
	switch t.text {
	case "broadcast", "multicast":
		p.next()
		return many{broadcast: t.text == "broadcast"}, true, nil
	case "inbound":
		p.next()
		return way(capture.In), true, nil
	case "outbound":
		p.next()
		return way(capture.Out), true, nil
	case "less", "greater":
		p.next()
		n, ok := number(p.peek().text)
		if !ok {
			return nil, true, p.expected(p.peek(), t.text, "a length in bytes")
		}
		p.next()
		if t.text == "less" {
			return relation{"<=", length{}, constant(n)}, true, nil
		}
		return relation{">=", length{}, constant(n)}, true, nil
	case "vlan":
		p.next()
		id, ok := number(p.peek().text)
		if !ok {
			return vlan{anyVLAN}, true, nil
		}
		if id > 4095 {
			return nil, true, p.expected(p.peek(), "vlan", "an id from 0 to 4095")
		}
		p.next()
		return vlan{int(id)}, true, nil
	}
	return nil, false, nil
}

// group reads multicast behind a version of IP. It reports false when it is not
// there.
func (p *parser) group(version family) (node, bool, error) {
	switch t := p.peek(); t.text {
	case "multicast":
		p.next()
		return group{version}, true, nil
	case "broadcast":
		return nil, true, p.fail(t, "the networks' masks are not looked at: say broadcast, or dst host ADDRESS")
	}
	return nil, false, nil
}

// ether reads what is about Ethernet's header.
func (p *parser) ether() (node, qualifiers, error) {
	p.next()
	t := p.peek()
	q := qualifiers{what: isStation, given: true}
	switch t.text {
	case "broadcast", "multicast":
		n, _, err := p.complete()
		return n, qualifiers{}, err
	case "proto":
		p.next()
		n, err := p.etherType()
		return n, qualifiers{}, err
	}
	p.direction(&q)
	if p.peek().text == "host" {
		p.next()
	} else if _, ok := directions[t.text]; !ok {
		return nil, q, p.expected(t, "ether", "host, src, dst, proto, broadcast or multicast")
	}
	return p.identifier(q)
}

// etherType reads what ether proto is about: the versions of IP, and what is to be
// left out.
func (p *parser) etherType() (node, error) {
	t := p.next()
	name := strings.TrimPrefix(t.text, `\`)
	n, ok := number(name)
	switch {
	case name == "ip", ok && n == 0x0800:
		return ip4, nil
	case name == "ip6", ok && n == 0x86dd:
		return ip6, nil
	case slices.Contains(absentWords, absent(name)):
		return absent(name), nil
	case ok && (n == 0x8100 || n == 0x88a8 || n == 0x9100):
		return nil, p.fail(t, "natlens looks behind tags: say vlan")
	case ok && n <= 0xffff:
		return absentType(n), nil
	}
	return nil, p.fail(t, "ether proto needs ip, ip6, arp or a number")
}

// atKind reports whether something that nat can be about is next.
func (p *parser) atKind() bool {
	t := p.peek()
	return t.kind == open || t.kind == not || slices.Contains(natKinds, strings.ToLower(t.text)) || t.text == trace.Proxy ||
		t.kind == word && !slices.Contains(vocabulary(), t.text)
}
