package packet

import (
	"encoding/binary"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/google/gopacket/layers"
)

func addSeeds(f *testing.F) {
	for _, p := range samples(f) {
		f.Add(uint8(Ethernet), p.data, uint32(len(p.data)))
		f.Add(uint8(Ethernet), p.data[:len(p.data)/2], uint32(len(p.data)))
		f.Add(uint8(RawIP), p.data[ethernetHeader:], uint32(0))
	}
	for _, m := range dnsMessages(f) {
		f.Add(uint8(Ethernet), m.data, uint32(0))
	}
	f.Add(uint8(SLL), []byte{}, uint32(0))
	f.Add(uint8(Loopback), []byte{2, 0, 0, 0, 0x45}, uint32(99))
	f.Add(uint8(200), []byte{1}, uint32(1<<32-1))
}

// FuzzParse holds what a reader of Headers relies on for any bytes.
func FuzzParse(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, link uint8, data []byte, wire uint32) {
		var h Headers
		h.Parse(LinkType(link), data, wire)
		check(t, &h, data)
		_ = h.Payload(data)
		_ = h.Info(data)
		_, _ = h.DNS(data)
		if list := h.Memberships(data); len(list) > 0 && h.Membership(data) == NoMembership {
			t.Errorf("groups %v of no message", list)
		}
		if sum := Fingerprint(&h, data); (sum != 0) != h.IsIP() {
			t.Errorf("fingerprint %x, IP %t", sum, h.IsIP())
		}
	})
}

func check(t *testing.T, h *Headers, data []byte) {
	t.Helper()
	n := uint16(min(len(data), 1<<16-1))
	if h.NetworkOffset > n || h.TransportOffset > n || h.PayloadOffset > n {
		t.Errorf("offsets %d, %d, %d beyond %d bytes", h.NetworkOffset, h.TransportOffset, h.PayloadOffset, n)
	}
	if h.NetworkOffset > h.PayloadOffset || h.TransportOffset > h.PayloadOffset {
		t.Errorf("offsets %d, %d, %d are not in order", h.NetworkOffset, h.TransportOffset, h.PayloadOffset)
	}
	const transport = LayerTCP | LayerUDP | LayerICMP | LayerSCTP
	one := func(l Layers) bool { return l&(l-1) == 0 }
	switch l := h.Layers; {
	case !one(l & (LayerIPv4 | LayerIPv6 | LayerARP)):
		t.Errorf("layers %b: more than one network layer", l)
	case !one(l & transport):
		t.Errorf("layers %b: more than one transport layer", l)
	case l&(transport|LayerFragment) != 0 && !h.IsIP():
		t.Errorf("layers %b: transport without IP", l)
	case l.Has(LayerQuoted) && !l.Has(LayerICMP):
		t.Errorf("layers %b: quoted without ICMP", l)
	case l&transport != 0 && h.TransportOffset == 0:
		t.Errorf("layers %b: transport at 0", l)
	case h.FragmentOffset != 0 && h.TransportOffset != 0:
		t.Errorf("a later fragment has a transport header")
	case h.FragmentOffset != 0 && !l.Has(LayerFragment):
		t.Errorf("layers %b: offset %d", l, h.FragmentOffset)
	case h.IsIP() && !h.Tuple.Valid():
		t.Errorf("layers %b: no tuple", l)
	case l.Has(LayerQuoted) != h.Quoted.Valid():
		t.Errorf("layers %b: quoted %v", l, h.Quoted)
	case l&transport == 0 && (h.Tuple.SourcePort|h.Tuple.DestinationPort) != 0:
		t.Errorf("layers %b: ports in %v", l, h.Tuple)
	}
}

func FuzzInfo(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, link uint8, data []byte, _ uint32) {
		s := Info(LinkType(link), data)
		if s == "" || !utf8.ValidString(s) {
			t.Errorf("Info = %q", s)
		}
		for _, c := range []byte(s) {
			if c < ' ' || c > '~' {
				t.Fatalf("Info = %q holds %#x", s, c)
			}
		}
		if s[0] == ' ' || s[len(s)-1] == ' ' {
			t.Errorf("Info = %q has spaces at an end", s)
		}
	})
}

// FuzzDNS gives the decoder of names messages without the headers before them.
func FuzzDNS(f *testing.F) {
	const headers = ethernetHeader + ipv4Header + udpHeader
	for _, m := range dnsMessages(f) {
		f.Add(m.data[headers:])
		f.Add(m.data[headers : (headers+len(m.data))/2])
	}
	loop := append(make([]byte, 12), 1, 'a', 0xc0, 12, 0, 1, 0, 1) // a name that points to itself
	loop[5] = 1
	f.Add(loop)
	f.Fuzz(func(t *testing.T, message []byte) {
		message = message[:min(len(message), 1<<12)]
		s := spec{source: addr("10.0.0.1"), destination: addr("10.0.0.2"), ttl: 64, protocol: layers.IPProtocolUDP, sport: 53, dport: 4711, payload: message}
		data := s.build(t)
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		m, ok := h.DNS(data)
		info := h.dnsInfo(data)
		s.protocol, s.payload = layers.IPProtocolTCP, append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
		segment := s.build(t)
		h.Parse(Ethernet, segment, uint32(len(segment)))
		if same, too := h.DNS(segment); too != (ok && len(message) >= dnsHeader) || too && !reflect.DeepEqual(same, m) {
			t.Errorf("over TCP %+v, %v; else %+v, %v", same, too, m, ok)
		}
		if !ok {
			if m.Name != "" || m.Addresses != nil {
				t.Errorf("no message, but %+v", m)
			}
			return
		}
		if len(m.Name) == 0 || len(m.Name) > 4*maxDNSName+3 || len(m.Addresses) > maxDNSMessage/4 || m.Lifetime < 0 ||
			!m.Response && m.Addresses != nil || info == "" || len(info) > 6*4*maxDNSName {
			t.Errorf("%+v, %q", m, info)
		}
		for _, c := range []byte(m.Name + info) {
			if c < ' ' || c > '~' {
				t.Fatalf("%q, %q hold %#x", m.Name, info, c)
			}
		}
	})
}

// FuzzFingerprint changes one by one what a router or NAT changes.
func FuzzFingerprint(f *testing.F) {
	for _, p := range samples(f) {
		f.Add(p.data, uint16(0xbeef), true)
		f.Add(p.data, uint16(1), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, value uint16, source bool) {
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		want := Fingerprint(&h, data)
		translated := translate(&h, data, value, source)
		var after Headers
		after.Parse(Ethernet, translated, uint32(len(data)))
		if got := Fingerprint(&after, translated); got != want {
			t.Errorf("fingerprint %x, after translation %x\n% x\n% x", want, got, data, translated)
		}
	})
}
