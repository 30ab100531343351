package packet

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/gopacket/layers"
)

// DNSPort is where name servers listen (RFC 1035, section 4.2).
const DNSPort = 53

// DockerResolver is the address of the engine's name server inside a container of
// a custom network. Its real port is a high one: a question is seen on the
// container's loopback link after the translation from 53.
var DockerResolver = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// DNS is what a message of the domain name system asks and says (RFC 1035,
// section 4). The zero DNS is no message.
type DNS struct {
	ID       uint16
	Response bool
	// Name is the first question's, in RFC 4343's presentation form, without a
	// dot at the end; "." for the root.
	Name string
	Type uint16 // of the question: 1 is A, 28 is AAAA
	// Addresses are those of the answers; none in a question. Lifetime is how long
	// they may be used, the least of what they say.
	Addresses []netip.Addr
	Lifetime  time.Duration
}

// DNS decodes the payload of a datagram or segment as a message of the domain name
// system, whatever its ports; data are the packet's bytes. ok is false where there is no
// whole first question. Answers behind the captured bytes are absent. Of segments only
// one that begins with a message and has all of it is decoded.
func (h *Headers) DNS(data []byte) (m DNS, ok bool) {
	payload, ok := h.dnsMessage(data)
	if !ok {
		return DNS{}, false
	}
	var dns layers.DNS
	// A cut off message fails, and what was decoded before counts.
	_ = decode(&dns, boundedDNS(payload))
	if len(dns.Questions) == 0 {
		return DNS{}, false
	}
	m = DNS{ID: dns.ID, Response: dns.QR, Name: dnsName(dns.Questions[0].Name), Type: uint16(dns.Questions[0].Type)}
	if !dns.QR || dns.ResponseCode != layers.DNSResponseCodeNoErr {
		return m, true
	}
	for i := range dns.Answers {
		a := &dns.Answers[i]
		ip, isAddress := netip.AddrFromSlice(a.IP)
		if !isAddress || a.Type != layers.DNSTypeA && a.Type != layers.DNSTypeAAAA {
			continue
		}
		m.Addresses = append(m.Addresses, ip.Unmap())
		if life := time.Duration(a.TTL) * time.Second; len(m.Addresses) == 1 || life < m.Lifetime {
			m.Lifetime = life
		}
	}
	return m, true
}

// dnsHeader is the length of a message's header (RFC 1035, section 4.1.1).
const dnsHeader = 12

// dnsMessage returns the captured bytes of what may be a message: a datagram's payload,
// or that of a segment behind the message's length (RFC 1035, section 4.2.2).
func (h *Headers) dnsMessage(data []byte) ([]byte, bool) {
	if int(h.PayloadOffset) > len(data) {
		return nil, false
	}
	payload := h.Payload(data)
	switch {
	case h.Layers.Has(LayerUDP):
		return payload, true
	case !h.Layers.Has(LayerTCP) || len(payload) < 2+dnsHeader:
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(payload))
	if length < dnsHeader || uint64(length) > uint64(h.PayloadLength)-2 {
		return nil, false
	}
	payload = payload[2:]
	return payload[:min(length, len(payload))], true
}

// boundedDNS is as much of a message as is decoded. It has no capacity beyond, which
// the decoder would read: a slice's end is held only against that.
func boundedDNS(payload []byte) []byte {
	n := min(len(payload), maxDNSMessage)
	return payload[:n:n]
}
