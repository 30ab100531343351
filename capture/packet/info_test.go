package packet

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// dnsMessages returns datagrams of the domain name system and what Info says.
func dnsMessages(t testing.TB) []struct {
	want string
	data []byte
} {
	t.Helper()
	question := func(name string, typ layers.DNSType) []layers.DNSQuestion {
		return []layers.DNSQuestion{{Name: []byte(name), Type: typ, Class: layers.DNSClassIN}}
	}
	answer := func(name, ip string) layers.DNSResourceRecord {
		return layers.DNSResourceRecord{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN, IP: net.ParseIP(ip)}
	}
	var all []struct {
		want string
		data []byte
	}
	add := func(want string, sport, dport uint16, from, to string, dns *layers.DNS) {
		dns.ID = 7
		buf := gopacket.NewSerializeBuffer()
		if err := dns.SerializeTo(buf, serialize); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		s := spec{source: addr(from), destination: addr(to), ttl: 64, protocol: layers.IPProtocolUDP,
			sport: sport, dport: dport, payload: buf.Bytes()}
		all = append(all, struct {
			want string
			data []byte
		}{want, s.build(t)})
	}
	const client, server = "172.24.0.3", "198.51.100.7"
	add("DNS A? back", 4711, 53, client, server, &layers.DNS{Questions: question("back", layers.DNSTypeA)})
	add("DNS AAAA? back", 4711, 53, client, server, &layers.DNS{Questions: question("back", layers.DNSTypeAAAA)})
	add("DNS A? back", 40001, 38123, "127.0.0.1", "127.0.0.11", &layers.DNS{Questions: question("back", layers.DNSTypeA)})
	add("DNS A back 172.24.0.2", 53, 4711, server, client, &layers.DNS{
		QR: true, Questions: question("back", layers.DNSTypeA), Answers: []layers.DNSResourceRecord{answer("back", "172.24.0.2")},
	})
	add("DNS A www 10.0.0.1 10.0.0.2 10.0.0.3 and 1 more", 53, 4711, server, client, &layers.DNS{
		QR: true, Questions: question("www", layers.DNSTypeA), Answers: []layers.DNSResourceRecord{
			{Name: []byte("www"), Type: layers.DNSTypeCNAME, Class: layers.DNSClassIN, CNAME: []byte("host.example")},
			answer("host.example", "10.0.0.1"), answer("host.example", "10.0.0.2"),
			answer("host.example", "10.0.0.3"), answer("host.example", "10.0.0.4"),
		},
	})
	add("DNS AAAA back has none", 53, 4711, server, client, &layers.DNS{QR: true, Questions: question("back", layers.DNSTypeAAAA)})
	add("DNS NXDOMAIN nobody", 53, 4711, server, client, &layers.DNS{
		QR: true, ResponseCode: layers.DNSResponseCodeNXDomain, Questions: question("nobody", layers.DNSTypeA),
	})
	add("DNS REFUSED nobody", 53, 4711, server, client, &layers.DNS{
		QR: true, ResponseCode: layers.DNSResponseCodeRefused, Questions: question("nobody", layers.DNSTypeA),
	})
	add(`DNS A? a\027[31m\032\\b\255.c`, 4711, 53, client, server, &layers.DNS{Questions: question("a\x1b[31m \\b\xff.c", layers.DNSTypeA)})
	add("DNS NS? .", 4711, 53, client, server, &layers.DNS{Questions: question("", layers.DNSTypeNS)})
	add("DNS HTTPS? x", 4711, 53, client, server, &layers.DNS{Questions: question("x", 65)})
	add("mDNS PTR? _ipp._tcp.local", 5353, 5353, client, "224.0.0.251", &layers.DNS{Questions: question("_ipp._tcp.local", layers.DNSTypePTR)})
	return all
}

func TestInfoDNS(t *testing.T) {
	for _, m := range dnsMessages(t) {
		if got := Info(Ethernet, m.data); got != m.want {
			t.Errorf("Info = %q, want %q", got, m.want)
		}
		if strings.HasPrefix(m.want, "DNS A back ") {
			// The answer is cut off, the question and the count are not.
			if got, want := Info(Ethernet, m.data[:len(m.data)-3]), "DNS A back, 1 answer"; got != want {
				t.Errorf("cut off: Info = %q, want %q", got, want)
			}
		}
	}
}

func TestInfo(t *testing.T) {
	v4 := spec{source: addr("10.0.0.1"), destination: addr("10.0.0.2"), ttl: 64, sport: 4711, dport: 80}
	v6 := v4
	v6.six, v6.source, v6.destination = true, addr("fd00::1"), addr("fd00::2")
	tcp := func(flags uint8, payload int, options int) []byte {
		s := v4
		s.protocol, s.flags, s.payload, s.options = layers.IPProtocolTCP, flags, make([]byte, payload), options
		return s.build(t)
	}
	udp := func(payload int) []byte {
		s := v4
		s.protocol, s.payload = layers.IPProtocolUDP, make([]byte, payload)
		return s.build(t)
	}
	icmp := func(s spec, typ, code uint8, id, seq uint16, payload []byte) []byte {
		s.protocol, s.icmpType, s.icmpCode, s.icmpID, s.icmpSeq, s.payload = layers.IPProtocolICMPv4, typ, code, id, seq, payload
		if s.six {
			s.protocol = layers.IPProtocolICMPv6
		}
		return s.build(t)
	}
	fragment := func(data []byte, field uint16) []byte {
		binary.BigEndian.PutUint16(data[20:], field)
		return data
	}
	udp6 := v6
	udp6.protocol, udp6.dport = layers.IPProtocolUDP, 53
	gre := v4
	gre.protocol, gre.payload = 47, make([]byte, 8)
	neighbor := addr("fe80::1").AsSlice()
	arp := func(operation string) []byte {
		return fromHex(t, `ffffffffffff 02420a000001 0806 0001 0800 06 04 `+operation+`
			02420a000001 ac110001 000000000000 ac110002`)
	}
	for _, tt := range []struct {
		want string
		data []byte
	}{
		{"SYN win 64240 mss 1460", tcp(SYN, 0, 1)},
		{"SYN ACK win 64240 mss 1460", tcp(SYN|ACK, 0, 1)},
		{"SYN win 64240", tcp(SYN, 0, 0)},
		{"PSH ACK 512 B", tcp(PSH|ACK, 512, 0)},
		{"PSH ACK 512 B", tcp(PSH|ACK, 512, 0)[:128]},
		{"FIN ACK", tcp(FIN|ACK, 0, 0)},
		{"RST ACK", tcp(RST|ACK, 0, 0)},
		{"RST", tcp(RST, 0, 0)},
		{"no flags", tcp(0, 0, 0)},
		{"TCP header cut off", tcp(SYN, 0, 0)[:40]},
		{"12 B", udp(12)},
		{"0 B", udp(0)},
		{"12 B, malformed", append(udp(12)[:38], append([]byte{0, 99}, udp(12)[40:]...)...)},
		{"echo request 7", icmp(v4, 8, 0, 1, 7, make([]byte, 56))},
		{"echo reply 65535", icmp(v4, 0, 0, 1, 65535, nil)},
		{"echo request 7", icmp(v6, 128, 0, 1, 7, nil)},
		{"echo reply 7", icmp(v6, 129, 0, 1, 7, nil)},
		{"port unreachable: udp 10.0.0.1:4711 > 10.0.0.2:80", icmp(v4, 3, 3, 0, 0, udp(5)[14:])},
		{"host administratively prohibited: udp 10.0.0.1:4711 > 10.0.0.2:80", icmp(v4, 3, 10, 0, 0, udp(5)[14:])},
		{"fragmentation needed, mtu 1400: tcp 10.0.0.1:4711 > 10.0.0.2:80", icmp(v4, 3, 4, 0, 1400, tcp(ACK, 40, 0)[14:])},
		{"time to live exceeded: icmp 10.0.0.1 > 10.0.0.2", icmp(v4, 11, 0, 0, 0, icmp(v4, 8, 0, 1, 7, nil)[14:])},
		{"port unreachable: udp [fd00::1]:4711 > [fd00::2]:53", icmp(v6, 1, 4, 0, 0, udp6.build(t)[14:])},
		{"packet too big, mtu 1280: udp [fd00::1]:4711 > [fd00::2]:53", icmp(v6, 2, 0, 0, 1280, udp6.build(t)[14:])},
		{"neighbor solicitation for fe80::1", icmp(v6, 135, 0, 0, 0, neighbor)},
		{"timestamp request", icmp(v4, 13, 0, 1, 1, make([]byte, 12))},
		{"icmp type 99 code 1", icmp(v4, 99, 1, 0, 0, nil)},
		{"80 B, fragment at 0, more", fragment(udp(80), ipv4MF)},
		{"fragment at 1480, more", fragment(udp(80), ipv4MF|1480/8)},
		{"fragment at 2960", fragment(udp(80), 2960/8)},
		{"GRE 8 B", gre.build(t)},
		{"ARP who-has 172.17.0.2 tell 172.17.0.1", arp("0001")},
		{"ARP 172.17.0.1 is-at 02:42:0a:00:00:01", arp("0002")},
		{"ARP operation 9, 172.17.0.1 to 172.17.0.2", arp("0009")},
		{"EtherType 0x88cc", fromHex(t, "0180c200000e 02420a000001 88cc 00")},
		{"IEEE 802.3 frame", fromHex(t, "0180c2000000 02420a000001 0026 424203")},
		{"not IP, malformed", nil},
	} {
		if got := Info(Ethernet, tt.data); got != tt.want {
			t.Errorf("Info = %q, want %q\n% x", got, tt.want, tt.data)
		}
	}
}

// TestDecodePanics feeds gopacket bytes that it indexes beyond.
func TestDecodePanics(t *testing.T) {
	var arp layers.ARP
	// 2 x 255 overflows the byte that gopacket sums lengths in.
	if err := decode(&arp, []byte{0, 1, 8, 0, 255, 255, 0, 2, 1, 2, 3, 4}); err == nil {
		t.Error("no error from malformed ARP")
	}
}
