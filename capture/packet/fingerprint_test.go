package packet

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/gopacket/layers"
)

// translate returns a copy of data in which everything that NAT and forwarding
// change on the way has other values, made of value: one address and port, the
// identifier of a query, TTL, DSCP, checksums; in the packet that an error
// quotes, too.
func translate(h *Headers, data []byte, value uint16, source bool) []byte {
	b := slices.Clone(data)
	if !h.IsIP() {
		return b
	}
	fill := func(at, n int) {
		for i := range n {
			if at+i < len(b) {
				b[at+i] = byte(value) + byte(i)
			}
		}
	}
	network := func(at int, v4, outer bool) {
		if v4 {
			if outer {
				fill(at+1, 1) // DSCP
				fill(at+8, 1) // TTL
			}
			fill(at+10, 2) // checksum
			if source {
				fill(at+12, 4)
			} else {
				fill(at+16, 4)
			}
			return
		}
		if outer {
			fill(at+7, 1)
		}
		if source {
			fill(at+8, 16)
		} else {
			fill(at+24, 16)
		}
	}
	transport := func(at int, p Protocol, icmpType uint8) {
		switch p {
		case TCP, UDP, SCTP:
			if source {
				fill(at, 2)
			} else {
				fill(at+2, 2)
			}
			if at := at + map[Protocol]int{TCP: 16, UDP: 6, SCTP: 8}[p]; p == SCTP {
				fill(at, 4)
			} else {
				fill(at, 2)
			}
		case ICMP, ICMPv6:
			fill(at+2, 2)
			if isQuery(p, icmpType) {
				fill(at+4, 2)
			}
		}
	}
	network(int(h.NetworkOffset), h.Layers.Has(LayerIPv4), true)
	if h.TransportOffset != 0 && h.Layers&(LayerTCP|LayerUDP|LayerICMP|LayerSCTP) != 0 {
		transport(int(h.TransportOffset), h.Tuple.Protocol, h.ICMPType)
	}
	// A quoted header without options, and nothing that ends early.
	q := int(h.PayloadOffset)
	if h.Layers.Has(LayerQuoted) && h.Layers&(Truncated|Malformed) == 0 {
		network(q, h.Quoted.Is4(), false)
		header := ipv6Header
		if h.Quoted.Is4() {
			header = int(data[q]&0xf) * 4
		}
		if q+header+8 <= len(data) && h.Quoted.DestinationPort != 0 {
			transport(q+header, h.Quoted.Protocol, data[q+header])
		}
	}
	return b
}

func fingerprintOf(data []byte) uint64 {
	var h Headers
	h.Parse(Ethernet, data, uint32(len(data)))
	return Fingerprint(&h, data)
}

func TestFingerprintSurvivesTranslation(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 3000 {
		s := randomSpec(r)
		if s.protocol == 47 {
			s.payload = append([]byte{0x30, 0x81, 0x88, 0x0b, 0, 4, 0, 0}, s.payload...)
		}
		data := s.build(t)
		want := fingerprintOf(data)

		// As NAT does it: another packet, built anew.
		n := s
		if s.six {
			n.source = addr("fd99::1")
		} else {
			n.source = addr("192.0.2.10")
		}
		n.sport, n.dport, n.ttl, n.tos = 61000, 8080, s.ttl-1, 0
		n.icmpID = 61000
		n.tags, n.padding = 0, 0
		if s.protocol == 47 {
			n.payload = slices.Clone(s.payload)
			n.payload[6]++ // PPTP's call identifier
		}
		if got := fingerprintOf(n.build(t)); got != want {
			t.Fatalf("%+v: %x, translated %x", s, want, got)
		}
		n.source, n.destination = s.source, n.source
		if got := fingerprintOf(n.build(t)); got != want {
			t.Fatalf("%+v: %x, destination translated %x", s, want, got)
		}
		// Byte by byte, without mending the checksums.
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		if got := fingerprintOf(translate(&h, data, 0xbeef, r.IntN(2) == 0)); got != want {
			t.Fatalf("%+v: %x, bytes translated %x", s, want, got)
		}
	}
}

func TestFingerprintTellsApart(t *testing.T) {
	base := spec{source: addr("172.17.0.2"), destination: addr("198.51.100.7"), id: 9, ttl: 64,
		sport: 4711, dport: 80, seq: 1, ack: 2, flags: ACK, payload: make([]byte, 40)}
	tcp, echo, echo6, udp := base, base, base, base
	tcp.protocol, udp.protocol, echo.protocol = layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4
	echo.icmpType, echo.icmpID, echo.icmpSeq = 8, 1, 1
	echo6.protocol, echo6.six, echo6.source, echo6.destination = layers.IPProtocolICMPv6, true, addr("fd00::1"), addr("fd00::2")
	echo6.icmpType, echo6.icmpID, echo6.icmpSeq = 128, 1, 1
	for _, tt := range []struct {
		name string
		of   spec
		edit func(*spec)
	}{
		{"IP ID", udp, func(s *spec) { s.id++ }},
		{"length", udp, func(s *spec) { s.payload = make([]byte, 41) }},
		{"first payload byte", udp, func(s *spec) { s.payload[0] = 1 }},
		{"32nd payload byte", udp, func(s *spec) { s.payload[31] = 1 }},
		{"TCP sequence", tcp, func(s *spec) { s.seq++ }},
		{"TCP acknowledgement", tcp, func(s *spec) { s.ack++ }},
		{"TCP flags", tcp, func(s *spec) { s.flags |= FIN }},
		{"TCP payload", tcp, func(s *spec) { s.payload[9] = 1 }},
		{"protocol", tcp, func(s *spec) { s.protocol = 47 }},
		{"ICMP type", echo, func(s *spec) { s.icmpType = 0 }},
		{"ICMP code", echo, func(s *spec) { s.icmpCode = 1 }},
		{"ICMP sequence", echo, func(s *spec) { s.icmpSeq++ }},
		{"ICMP payload", echo, func(s *spec) { s.payload[9] = 1 }},
		{"ICMPv6 sequence", echo6, func(s *spec) { s.icmpSeq++ }},
		{"ICMPv6 payload", echo6, func(s *spec) { s.payload[9] = 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changed := tt.of
			changed.payload = slices.Clone(tt.of.payload)
			tt.edit(&changed)
			if a, b := fingerprintOf(tt.of.build(t)), fingerprintOf(changed.build(t)); a == b {
				t.Errorf("both have %x", a)
			}
		})
	}
}

// TestFingerprintTellsErrorsApart looks at what an error quotes: errors about
// different packets differ.
func TestFingerprintTellsErrorsApart(t *testing.T) {
	about := func(edit func(*spec)) uint64 {
		s := spec{source: addr("172.17.0.2"), destination: addr("198.51.100.7"), id: 9, ttl: 1,
			protocol: layers.IPProtocolICMPv4, icmpType: 8, icmpSeq: 1, payload: make([]byte, 40)}
		edit(&s)
		e := spec{source: s.destination, destination: s.source, id: 77, ttl: 64,
			protocol: layers.IPProtocolICMPv4, icmpType: 11, payload: s.build(t)[ethernetHeader:]}
		return fingerprintOf(e.build(t))
	}
	plain := about(func(*spec) {})
	if got := about(func(s *spec) { s.icmpSeq++ }); got == plain {
		t.Error("an error about another sequence number has the same fingerprint")
	}
	if got := about(func(s *spec) { s.id++ }); got == plain {
		t.Error("an error about another IP ID has the same fingerprint")
	}
	if got := about(func(s *spec) { s.source = addr("192.0.2.10"); s.icmpID = 61000 }); got != plain {
		t.Error("translating the quoted packet changes the fingerprint")
	}
}

func TestFingerprintOfFragments(t *testing.T) {
	fragment := func(offset uint16, more bool) []byte {
		b := spec{source: addr("10.0.0.1"), destination: addr("10.0.0.2"), id: 3, ttl: 64,
			protocol: layers.IPProtocolUDP, sport: 1, dport: 2, payload: make([]byte, 32)}.build(t)
		field := offset / 8
		if more {
			field |= ipv4MF
		}
		binary.BigEndian.PutUint16(b[20:], field)
		return b
	}
	seen := map[uint64]bool{}
	for _, b := range [][]byte{fragment(0, false), fragment(0, true), fragment(8, true), fragment(8, false), fragment(1480, true)} {
		seen[fingerprintOf(b)] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d fingerprints of 5 fragments", len(seen))
	}
	// In a later fragment the first bytes are payload, not ports.
	a, b := fragment(8, true), fragment(8, true)
	b[35]++
	if fingerprintOf(a) == fingerprintOf(b) {
		t.Error("payload of a later fragment does not count")
	}
}

// TestFingerprintOfCutOffHeaders holds that ports do not count as payload where
// too little was captured to know the header.
func TestFingerprintOfCutOffHeaders(t *testing.T) {
	for _, p := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolSCTP} {
		s := spec{source: addr("10.0.0.1"), destination: addr("10.0.0.2"), ttl: 64, protocol: p, sport: 1, dport: 2}
		n := s
		n.sport = 61000
		const cut = ethernetHeader + ipv4Header + 6
		if a, b := fingerprintOf(s.build(t)[:cut]), fingerprintOf(n.build(t)[:cut]); a != b {
			t.Errorf("%v: %x, other ports %x", p, a, b)
		}
	}
}

// TestFingerprintAgreesAcrossLinks gives one packet other link headers and the
// snap length that rings have by default.
func TestFingerprintAgreesAcrossLinks(t *testing.T) {
	const snap = 128
	r := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		s := randomSpec(r)
		s.tags = 0
		untagged := s.build(t)
		s.tags = 2
		tagged := s.build(t)
		ip := untagged[ethernetHeader:]
		sll2 := append(make([]byte, sll2Header), ip...)
		copy(sll2, untagged[12:14])
		var want uint64
		for i, p := range []struct {
			link LinkType
			data []byte
		}{{Ethernet, untagged}, {Ethernet, tagged}, {SLL2, sll2}, {RawIP, ip}} {
			var h Headers
			data := p.data[:min(len(p.data), snap)]
			h.Parse(p.link, data, uint32(len(p.data)))
			got := Fingerprint(&h, data)
			if i == 0 {
				want = got
			} else if got != want {
				t.Fatalf("%+v: link type %d has %x, Ethernet %x", s, p.link, got, want)
			}
		}
	}
}

// TestFingerprintSpreads counts collisions among packets as alike as a flood's.
func TestFingerprintSpreads(t *testing.T) {
	const n = 1 << 17
	base := spec{source: addr("10.0.0.1"), destination: addr("10.0.0.2"), ttl: 64,
		protocol: layers.IPProtocolICMPv4, icmpType: 8, payload: make([]byte, 16)}
	data := base.build(t)
	seen := make(map[uint64]bool, n)
	var low [1 << 8]int
	for i := range n {
		binary.BigEndian.PutUint16(data[18:], uint16(i))     // IP ID
		binary.BigEndian.PutUint16(data[40:], uint16(i>>16)) // sequence
		sum := fingerprintOf(data)
		seen[sum] = true
		low[sum&0xff]++
	}
	if len(seen) != n {
		t.Errorf("%d packets share a fingerprint", n-len(seen))
	}
	for i, count := range low {
		if count < n/256/2 || count > n/256*2 {
			t.Errorf("low byte %#x comes %d times of %d", i, count, n)
		}
	}
}
