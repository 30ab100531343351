package filter

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlens/capture/packet"
)

// primitive makes a node of the word t and what was said of it.
func (p *parser) primitive(t token, q qualifiers) (node, error) {
	if t.text == "&" || t.text == "|" {
		return nil, p.needOperator(t)
	}
	if !q.what.isName() || !q.given {
		// Behind "container" and its like any word is a name.
		if err := p.misplaced(t, q); err != nil {
			return nil, err
		}
	}
	if _, err := netip.ParseAddr(t.text); err == nil && !q.given && (q.what == isNetwork || q.what == isLink) {
		return p.limited(t, q, p.unsaid)
	}
	switch q.what {
	case isPort, isPortRange:
		return p.ports(t, q)
	case isNet:
		return p.limited(t, q, p.net)
	case isHost:
		return p.limited(t, q, p.host)
	case isContainer:
		if q.given || !looksNumeric(t.text) || p.known(t.text) {
			return p.limited(t, q, p.container)
		}
	case isProto:
		return p.proto(t, q)
	case isNetwork:
		return p.limited(t, q, p.network)
	case isStation, isLink, isNAT, isVerdict, isFlow:
		return p.unlimited(t, q)
	}
	return p.limited(t, q, p.unsaid)
}

// misplaced refuses words of the language where an identifier is expected, and
// words that only other languages have.
func (p *parser) misplaced(t token, q qualifiers) error {
	_, isProtocol := protocolWords[t.text]
	_, isWhat := whats[t.text]
	_, isDirection := directions[t.text]
	switch {
	case isProtocol || isWhat || isDirection || alone[t.text]:
		if q.given {
			return p.needIdentifier(t, q)
		}
		return p.fail(t, "%q cannot stand here", t.text)
	case q.what != unsaid && q.what != isHost && q.what != isContainer || p.known(t.text):
		return nil
	case refused[t.text] != "", slices.Contains(absentWords, absent(t.text)):
		return p.refuse(t)
	}
	return nil
}

// refuse says what to say instead.
func (p *parser) refuse(t token) error {
	switch beside := absent(t.text); {
	case slices.Contains(absentWords, beside):
		return p.fail(t, "%s; for a container of that name say container %s", noJourney(t.text, isEvent(beside)), t.text)
	case refused[t.text] == "":
		return p.fail(t, "%s", noJourney(t.text, isEvent(p.absent)))
	}
	return p.fail(t, "%q is not in this language: %s; for a container of that name say container %[1]s", t.text, refused[t.text])
}

// unlimited makes a node that neither a protocol nor an end qualifies.
func (p *parser) unlimited(t token, q qualifiers) (node, error) {
	switch q.what {
	case isStation:
		if mac, err := net.ParseMAC(t.text); err == nil && len(mac) == 6 {
			return station{q.direction, [6]byte(mac)}, nil
		}
	case isLink:
		if l := linkNamed(t.text); l.name != "" && !strings.Contains(l.name, "@") {
			return l, nil
		}
		if name, _, ok := strings.Cut(t.text, "@"); ok {
			return nil, p.fail(t, "what stands behind @ is no part of a link's name: say link %s", name)
		}
	case isNAT:
		if kind := strings.ToLower(t.text); slices.Contains(natKinds, kind) {
			return nat{kind}, nil
		}
	case isVerdict:
		if slices.Contains(results, t.text) {
			return verdict(t.text), nil
		}
	case isFlow:
		if id, err := strconv.ParseUint(t.text, 10, 32); err == nil && id != 0 {
			return flow(id), nil
		}
	}
	return nil, p.needIdentifier(t, q)
}

func (p *parser) network(t token, q qualifiers) (node, error) {
	return network{q.direction, t.text}, nil
}

func (p *parser) proto(t token, q qualifiers) (node, error) {
	n, ok := protocolNumber(t.text)
	if !ok {
		return nil, p.needIdentifier(t, q)
	}
	over, _ := q.protocol.(family)
	if what, behind := inIPv6[n]; behind && over == ip6 {
		return nil, p.fail(t, "natlens looks behind %s: say ip6 proto and what follows them", what)
	}
	return protocol{n, over}, nil
}

func (p *parser) known(word string) bool { return p.names != nil && p.names(word) != "" }

// limited makes a node with make and limits it to the version of IP that stood
// before.
func (p *parser) limited(t token, q qualifiers, make func(token, qualifiers) (node, error)) (node, error) {
	n, err := make(t, q)
	version, ok := q.protocol.(family)
	if err != nil || !ok {
		return n, err
	}
	if nw, ok := n.(prefix); ok && nw.prefix.Addr().Is4() != (version == ip4) {
		return nil, p.fail(t, "%s is not an %s address", t.text, version)
	}
	return combination{and: true, left: version, right: n}, nil
}

// unsaid is a word by itself, or behind src or dst.
func (p *parser) unsaid(t token, q qualifiers) (node, error) {
	if p.known(t.text) {
		return p.container(t, q)
	}
	if err := p.displayFilter(t); err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(t.text); err == nil {
		return p.host(t, q)
	}
	if strings.Contains(t.text, "/") {
		return nil, p.fail(t, "for a network say net %s", t.text)
	}
	if looksNumeric(t.text) {
		if _, ok := portNumber(t.text); ok {
			return nil, p.fail(t, "for a port say port %s, for a network net %s", t.text, t.text)
		}
		if err := p.socket(t, q); err != nil {
			return nil, err
		}
		return nil, p.fail(t, "%q is not a whole address; for a network say net %s", t.text, t.text)
	}
	return p.container(t, q)
}

func (p *parser) container(t token, q qualifiers) (node, error) {
	if p.known(t.text) {
		return container{q.direction, p.names(t.text)}, nil
	}
	if !q.given || q.what != isContainer {
		if err := p.doubt(t, q); err != nil {
			return nil, err
		}
	}
	return container{q.direction, t.text}, nil
}

func (p *parser) host(t token, q qualifiers) (node, error) {
	a, err := netip.ParseAddr(t.text)
	if err == nil && a.Zone() == "" {
		a = a.Unmap()
		return prefix{q.direction, netip.PrefixFrom(a, a.BitLen()), true}, nil
	}
	if err := p.socket(t, q); err != nil {
		return nil, err
	}
	switch {
	case p.known(t.text), !q.given && !looksNumeric(t.text):
		return p.container(t, q)
	case err == nil:
		return nil, p.fail(t, "host needs an address without a zone: host %s", a.WithZone(""))
	case strings.Contains(t.text, "/"):
		return nil, p.fail(t, "host needs an address; for a network say net %s", t.text)
	case looksNumeric(t.text):
		return nil, p.fail(t, "host needs a whole address, got %q; for a network say net %s", t.text, t.text)
	}
	return nil, p.fail(t, "host needs an address, got %q; for a container say container %s", t.text, t.text)
}

// socket refuses an address with its port, and says how to ask for both.
func (p *parser) socket(t token, q qualifiers) error {
	address, port, ok := withPort(t.text)
	if !ok {
		return nil
	}
	end := q.direction.prefix()
	return p.fail(t, "for an address and its port say %[1]shost %[2]s and %[1]sport %[3]s", end, address, port)
}

// withPort reads 10.0.0.1:80 or [fd00::1]:http; port is PORT where it is none.
func withPort(s string) (address netip.Addr, port string, ok bool) {
	at := strings.LastIndexByte(s, ':')
	if at < 0 {
		return address, "", false
	}
	host, bracketed := strings.CutPrefix(s[:at], "[")
	if bracketed {
		host = strings.TrimSuffix(host, "]")
	}
	address, err := netip.ParseAddr(host)
	if port = s[at+1:]; err == nil {
		if _, known := portNumber(port); !known {
			port = "PORT"
		}
	}
	return address, port, err == nil && address.Is6() == bracketed
}

func (p *parser) net(t token, q qualifiers) (node, error) {
	if err := p.socket(t, q); err != nil {
		return nil, err
	}
	address, length, hasLength := strings.Cut(t.text, "/")
	of, err := partialAddress(address)
	if err != nil {
		if !looksNumeric(address) && t.kind == word {
			return nil, p.fail(t, "net needs a network such as 172.17.0.0/16, got %q; for an engine's network say network %s", t.text, t.text)
		}
		return nil, p.needIdentifier(t, q.of(isNet))
	}
	if hasLength {
		bits, err := strconv.ParseUint(length, 10, 8)
		if err != nil || int(bits) > of.Addr().BitLen() {
			return nil, p.fail(t, "the length of this network must be a number from 0 to %d, got %q", of.Addr().BitLen(), length)
		}
		of = netip.PrefixFrom(of.Addr(), int(bits))
	} else if p.peek().text == "mask" {
		if of, err = p.mask(t, of); err != nil {
			return nil, err
		}
	}
	if of.Masked() != of {
		return nil, p.fail(t, "%s has bits beyond its length; say net %s", t.text, of.Masked())
	}
	return prefix{q.direction, of, false}, nil
}

// mask reads "mask 255.255.0.0" behind a network.
func (p *parser) mask(t token, of netip.Prefix) (netip.Prefix, error) {
	p.next()
	m := p.next()
	a, err := netip.ParseAddr(m.text)
	if err != nil || !a.Is4() || !of.Addr().Is4() {
		return of, p.fail(m, "mask needs an IPv4 mask such as 255.255.0.0, got %q", m.text)
	}
	ones := 0
	for _, b := range a.As4() {
		for ; b&0x80 != 0; b <<= 1 {
			ones++
		}
		if b != 0 {
			return of, p.fail(m, "the ones in a mask must come first; got %s", m.text)
		}
	}
	prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), ones)
	if prefix.Masked().Addr() != a {
		return of, p.fail(m, "the ones in a mask must come first; got %s", m.text)
	}
	return netip.PrefixFrom(of.Addr(), ones), nil
}

// partialAddress reads an address; one of IPv4 may lack parts at its end, which
// then do not count: 10.1 is 10.1.0.0/16.
func partialAddress(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("zone")
		}
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	parts := strings.Count(s, ".") + 1
	if parts > 3 {
		return netip.Prefix{}, errors.New("not an address")
	}
	a, err := netip.ParseAddr(s + strings.Repeat(".0", 4-parts))
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, parts*8), nil
}

func (p *parser) ports(t token, q qualifiers) (node, error) {
	n := ports{direction: q.direction}
	if over, ok := q.protocol.(protocol); ok {
		n.protocol = over.number
		switch n.protocol {
		case packet.TCP, packet.UDP, packet.SCTP:
		default:
			return nil, p.fail(t, "%s has no ports", over)
		}
	}
	var ok bool
	if q.what == isPort {
		n.low, ok = portNumber(t.text)
		n.high = n.low
		if _, _, isRange := portRange(t.text); !ok && isRange {
			return nil, p.fail(t, "for several ports say portrange %s", t.text)
		}
	} else {
		n.low, n.high, ok = portRange(t.text)
	}
	if !ok {
		return nil, p.needIdentifier(t, q)
	}
	return n, nil
}

// portNumber reads a number or the name of a service.
func portNumber(s string) (uint16, bool) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return uint16(n), true
	}
	n, ok := services[s]
	return n, ok
}

// portRange reads "8000-8080", also with names, which may hold hyphens
// themselves; one port is a range, too. As in pcap-filter(7), the ends may come
// in either order.
func portRange(s string) (low, high uint16, ok bool) {
	if n, ok := portNumber(s); ok {
		return n, n, true
	}
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		a, okA := portNumber(s[:i])
		b, okB := portNumber(s[i+1:])
		if okA && okB {
			return min(a, b), max(a, b), true
		}
	}
	return 0, 0, false
}

// looksNumeric reports whether a word is made of digits and dots only, or holds
// a colon as IPv6 addresses do: nobody calls a container like that.
func looksNumeric(s string) bool {
	return strings.Trim(s, "0123456789.") == "" || strings.Contains(s, ":")
}
