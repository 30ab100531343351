package packet

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Each message is decoded whole and cut off at every byte: what is there counts.
func TestDNS(t *testing.T) {
	name, client, server := []byte("back"), "172.24.0.2", "127.0.0.11"
	question := []layers.DNSQuestion{{Name: name, Type: layers.DNSTypeA, Class: layers.DNSClassIN}}
	record := func(typ layers.DNSType, ttl uint32, ip string) layers.DNSResourceRecord {
		return layers.DNSResourceRecord{Name: name, Type: typ, Class: layers.DNSClassIN, TTL: ttl, IP: net.ParseIP(ip)}
	}
	for _, tt := range []struct {
		message layers.DNS
		whole   string
		first   int // bytes of it that it takes to know the question
	}{
		{layers.DNS{ID: 7, Questions: question}, "7 question back 1 [] 0s", 22},
		{layers.DNS{ID: 8, QR: true, Questions: question, Answers: []layers.DNSResourceRecord{
			record(layers.DNSTypeA, 600, "172.24.0.3"), record(layers.DNSTypeAAAA, 60, "fd00::3"), record(layers.DNSTypeA, 601, "172.24.0.4"),
		}}, "8 response back 1 [172.24.0.3 fd00::3 172.24.0.4] 1m0s", 22},
		{layers.DNS{ID: 9, QR: true, Questions: question, Answers: []layers.DNSResourceRecord{
			{Name: name, Type: layers.DNSTypeCNAME, Class: layers.DNSClassIN, TTL: 5, CNAME: []byte("host")}, record(layers.DNSTypeA, 600, "172.24.0.3"),
		}}, "9 response back 1 [172.24.0.3] 10m0s", 22},
		{layers.DNS{ID: 10, QR: true, ResponseCode: layers.DNSResponseCodeNXDomain, Questions: question}, "10 response back 1 [] 0s", 22},
	} {
		p := gopacket.NewSerializeBuffer()
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(client), DstIP: net.ParseIP(server)}
		udp := &layers.UDP{SrcPort: 40000, DstPort: 38123}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		if err := gopacket.SerializeLayers(p, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
			&layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}, ip, udp, &tt.message); err != nil {
			t.Fatal(err)
		}
		const headers = 14 + 20 + 8
		for n := 14; n <= len(p.Bytes()); n++ {
			data := p.Bytes()[:n]
			var h Headers
			h.Parse(Ethernet, data, uint32(len(p.Bytes())))
			m, ok := h.DNS(data)
			if ok != (n >= headers+tt.first) {
				t.Errorf("%s: %v with %d of %d bytes", tt.whole, ok, n, len(p.Bytes()))
			}
			if !ok || n < len(p.Bytes()) {
				continue
			}
			kind := "question"
			if m.Response {
				kind = "response"
			}
			if got := fmt.Sprint(m.ID, " ", kind, " ", m.Name, " ", m.Type, " ", m.Addresses, " ", m.Lifetime); got != tt.whole {
				t.Errorf("%s, want %s", got, tt.whole)
			}
		}
	}
}

// Over TCP a message stands behind its length. What is not one whole message in one
// segment is none.
func TestDNSOverTCP(t *testing.T) {
	message := gopacket.NewSerializeBuffer()
	if err := (&layers.DNS{ID: 8, QR: true, TC: true, Questions: []layers.DNSQuestion{{Name: []byte("back"), Type: layers.DNSTypeA, Class: layers.DNSClassIN}},
		Answers: []layers.DNSResourceRecord{{Name: []byte("back"), Type: layers.DNSTypeA, Class: layers.DNSClassIN, TTL: 60, IP: net.ParseIP("172.24.0.3")}},
	}).SerializeTo(message, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		t.Fatal(err)
	}
	whole := message.Bytes()
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(whole)))
	for name, c := range map[string]struct {
		payload []byte
		want    string
	}{
		"whole":                {append(framed, whole...), "back [172.24.0.3]"},
		"and the next":         {append(append(append(framed, whole...), framed...), whole...), "back [172.24.0.3]"},
		"in pieces":            {append(framed, whole[:len(whole)-1]...), ""},
		"the length by itself": {framed, ""},
		"without its length":   {whole, ""},
		"too short":            {append([]byte{0, 11}, whole...), ""},
		"nothing":              {nil, ""},
	} {
		s := spec{source: addr("172.24.0.1"), destination: addr("172.24.0.2"), ttl: 64, protocol: layers.IPProtocolTCP, sport: 53, dport: 40000, payload: c.payload}
		data := s.build(t)
		var h Headers
		h.Parse(Ethernet, data, uint32(len(data)))
		m, ok := h.DNS(data)
		got := ""
		if ok {
			got = fmt.Sprint(m.Name, " ", m.Addresses)
		}
		if got != c.want || !h.Layers.Has(LayerTCP) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
