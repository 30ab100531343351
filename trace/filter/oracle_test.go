package filter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"natlens/capture/packet"
	"natlens/trace"
)

// corpus is a pcap file and the same packets as journeys of one hop. The time
// of packet i is i seconds, so that tcpdump's lines name it.
type corpus struct {
	file     []byte
	journeys []*trace.Journey
}

var (
	hosts4 = []string{"10.0.0.1", "10.0.0.2", "10.1.0.1", "192.168.7.9", "224.0.0.251"}
	hosts6 = []string{"fd00::1", "fd00::2", "fe80::7", "ff02::fb"}
	portsN = []uint16{22, 53, 80, 81, 443, 8080}
	macs   = []string{"02:42:ac:11:00:02", "02:42:0a:00:00:01", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:fb"}
)

// over are the protocols of the corpus; those from IGMP on have a payload only.
var over = []packet.Protocol{packet.TCP, packet.TCP, packet.UDP, packet.SCTP, packet.ICMP, packet.ICMPv6, 47, packet.IGMP, esp, pim, vrrp}

// newCorpus makes packets of every protocol between all pairs of hosts, with
// everything else random, and fragments of some; with a tag, each has one of the
// VLAN 5 or 6.
func newCorpus(t *testing.T, tagged bool) corpus {
	t.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriterNanos(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	var c corpus
	add := func(data []byte) {
		t.Helper()
		info := gopacket.CaptureInfo{
			Timestamp: time.Unix(int64(len(c.journeys)), 0), CaptureLength: len(data), Length: len(data),
		}
		if err := w.WritePacket(info, data); err != nil {
			t.Fatal(err)
		}
		c.journeys = append(c.journeys, seenOnce(data))
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, hosts := range [][]string{hosts4, hosts6} {
		for _, s := range hosts {
			for _, d := range hosts {
				for _, p := range over {
					if six := s[0] == 'f'; six && (p == packet.ICMP || p == packet.IGMP) || !six && p == packet.ICMPv6 {
						continue
					}
					data := randomFrame(t, r, s, d, p, tagged)
					add(data)
					if s[0] != 'f' && r.IntN(3) == 0 && !tagged { // a later fragment, and a first
						for _, field := range []byte{0x01, 0x20} {
							part := slices.Clone(data)
							part[20+int(1-field>>5)] = field
							add(part)
						}
					}
				}
			}
		}
	}
	c.file = file.Bytes()
	return c
}

// seenOnce is the journey of a packet that was seen at one place.
func seenOnce(data []byte) *trace.Journey {
	j := &trace.Journey{Hops: make([]trace.Hop, 1), Data: data}
	h := &j.Hops[0].Headers
	h.Parse(packet.Ethernet, data, uint32(len(data)))
	j.Protocol = h.Tuple.Protocol
	return j
}

func randomFrame(t testing.TB, r *rand.Rand, s, d string, p packet.Protocol, tagged bool) []byte {
	t.Helper()
	port := func() uint16 { return portsN[r.IntN(len(portsN))] }
	mac := func(among int) net.HardwareAddr {
		m, err := net.ParseMAC(macs[r.IntN(among)])
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	eth := &layers.Ethernet{SrcMAC: mac(2), DstMAC: mac(4), EthernetType: layers.EthernetTypeIPv4}
	var network gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, Protocol: layers.IPProtocol(p), SrcIP: net.ParseIP(s), DstIP: net.ParseIP(d),
		TTL: 63 + uint8(r.IntN(2)), TOS: uint8(r.IntN(2)) << 4, Id: uint16(r.IntN(4)), Flags: layers.IPv4Flag(r.IntN(2) << 1),
	}
	if s[0] == 'f' {
		eth.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{
			Version: 6, NextHeader: layers.IPProtocol(p), SrcIP: net.ParseIP(s), DstIP: net.ParseIP(d),
			HopLimit: 63 + uint8(r.IntN(2)),
		}
	}
	stack := []gopacket.SerializableLayer{eth, network}
	if tagged {
		tag := &layers.Dot1Q{VLANIdentifier: 5 + uint16(r.IntN(2)), Type: eth.EthernetType}
		eth.EthernetType = layers.EthernetTypeDot1Q
		stack = slices.Insert(stack, 1, gopacket.SerializableLayer(tag))
	}
	switch p {
	case packet.TCP:
		stack = append(stack, &layers.TCP{
			SrcPort: layers.TCPPort(port()), DstPort: layers.TCPPort(port()), Seq: uint32(r.IntN(3)), Ack: uint32(r.IntN(3)), Window: uint16(r.IntN(3)),
			FIN: r.IntN(4) == 0, SYN: r.IntN(2) == 0, RST: r.IntN(4) == 0, PSH: r.IntN(2) == 0, ACK: r.IntN(2) == 0,
			URG: r.IntN(8) == 0, ECE: r.IntN(8) == 0, CWR: r.IntN(8) == 0,
		})
	case packet.UDP:
		stack = append(stack, &layers.UDP{SrcPort: layers.UDPPort(port()), DstPort: layers.UDPPort(port())})
	case packet.SCTP:
		stack = append(stack, &layers.SCTP{SrcPort: layers.SCTPPort(port()), DstPort: layers.SCTPPort(port())})
	case packet.ICMP:
		kinds := []layers.ICMPv4TypeCode{8 << 8, 0, 3<<8 | 1, 3<<8 | 3, 11 << 8}
		stack = append(stack, &layers.ICMPv4{TypeCode: kinds[r.IntN(len(kinds))]})
	case packet.ICMPv6:
		kinds := []layers.ICMPv6TypeCode{128 << 8, 129 << 8, 1<<8 | 4, 3 << 8}
		stack = append(stack, &layers.ICMPv6{TypeCode: kinds[r.IntN(len(kinds))]})
	}
	payload := 16 + 20*r.IntN(4)
	stack = append(stack, gopacket.Payload(make([]byte, payload)))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	data := slices.Clone(buf.Bytes())
	// gopacket makes frames as long as wires want them, which no veth does.
	var h packet.Headers
	h.Parse(packet.Ethernet, data, uint32(len(data)))
	return data[:int(h.NetworkOffset)+int(h.Length)]
}

// tcpdump returns which packets of the corpus tcpdump picks.
func (c corpus) tcpdump(t *testing.T, program, expr string) []int {
	t.Helper()
	cmd := exec.Command(program, "-r", "-", "-nn", "-tt", "-q", "--", expr)
	cmd.Stdin = bytes.NewReader(c.file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		// tcpdump refuses what can never be true. So that we learn of it if
		// it refuses for another reason, nothing else passes.
		if strings.Contains(stderr.String(), "expression rejects all packets") {
			return nil
		}
		t.Errorf("tcpdump %q: %v\n%s", expr, err, stderr.String())
	}
	var picked []int
	for line := range strings.Lines(string(out)) {
		seconds, _, ok := strings.Cut(line, ".")
		n, err := strconv.Atoi(seconds)
		if !ok || err != nil {
			continue // the second line of a packet
		}
		picked = append(picked, n)
	}
	return picked
}

func (c corpus) filter(t *testing.T, expr string) []int {
	t.Helper()
	f, err := parse(expr, nil)
	if err != nil {
		t.Fatalf("Parse(%q): %v", expr, err)
	}
	refused := f.root != nil && refuseImpossible(expr, f.root) != nil
	protocols := f.Protocols()
	var picked []int
	for i, j := range c.journeys {
		if !f.Match(j) {
			continue
		}
		if picked = append(picked, i); refused {
			t.Errorf("%q is refused, and picks packet %d", expr, i)
		}
		if protocols != nil && !slices.Contains(protocols, j.Protocol) {
			t.Errorf("%q picks protocol %s, which is not in %v", expr, j.Protocol, protocols)
		}
	}
	return picked
}

func needTcpdump(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("needs tcpdump")
	}
	return program
}

// expression is one of ours, and what tcpdump must be asked for the same.
type expression struct{ ours, theirs string }

func same(list ...string) (e []expression) {
	for _, s := range list {
		e = append(e, expression{s, s})
	}
	return e
}

// TestAgreesWithTcpdump reads one file with tcpdump and with Filter.
func TestAgreesWithTcpdump(t *testing.T) {
	program := needTcpdump(t)
	c := newCorpus(t, false)
	exprs := same(
		"", "tcp", "udp", "sctp", "icmp", "icmp6", "ip", "ip6", "not ip", "not tcp", "esp", "pim", "vrrp", "ah", "igrp",
		"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src and dst host 10.0.0.1", "src or dst host 10.0.0.1",
		"src 10.0.0.1", "host fd00::1", "dst host fd00::2", "ip6 host fe80::7", "ip host 10.1.0.1",
		"net 10.0.0.0/8", "net 10", "net 10.1", "net 10.0.0", "net 192.168/16", "src net 10.1.0.0/16", "net fd00::/16",
		"net 10.0.0.0 mask 255.255.0.0", "net 0.0.0.0/0", "net 10.0.0.1",
		"port 80", "src port 80", "dst port 80", "src and dst port 80", "tcp port 80", "udp dst port 53", "sctp port 443",
		"port domain", "portrange 80-443", "portrange 443-80", "tcp src portrange 22-81",
		// Precedence and association.
		"tcp or udp and port 80", "tcp or (udp and port 80)", "udp and port 80 or tcp", "not tcp and port 80",
		"not (tcp and port 80)", "not tcp or not udp", "tcp and not port 80 or icmp and host 10.0.0.1",
		"icmp or tcp and host 10.0.0.1 or udp and port 53", "! tcp && ! udp || icmp",
		// Inheritance.
		"host 10.0.0.1 or 10.0.0.2", "src host 10.0.0.1 or 10.0.0.2", "port 80 or 443", "tcp port 80 or 443",
		"tcp dst port 80 or 443 or 53", "port 80 or 443 and 53", "port (80 or 443)", "not port 80 and not 443",
		"host 10.0.0.1 and not 10.0.0.2", "src port (22 or 53) and dst port (80 or 81)", "src host 10.0.0.1 and port 80 or 443",
		"net 10.1 or 192.168", "tcp port 80 or (81 or 443)", "proto 6 or 17", "ip proto 47 or 1", "ether src 02:42:ac:11:00:02 or 02:42:0a:00:00:01",
		// Protocols by number.
		"proto 47", "ip proto 17", "ip6 proto 17", `ip proto \tcp`, `ip6 proto \udp`, "not proto 6", "proto 0x11", "proto 021",
		// Ethernet.
		"ether host 02:42:ac:11:00:02", "ether src 02:42:ac:11:00:02", "ether dst host ff:ff:ff:ff:ff:ff", "ether proto 0x0800",
		`ether proto \ip6`, "broadcast", "ether broadcast", "multicast", "ether multicast", "ip multicast", "ip6 multicast",
		"not multicast and ip", "ether[0] & 1 = 0 and ip[16] >= 224",
		// Lengths and comparisons.
		"less 70", "greater 90", "len > 78", "length = 58", "len<=70||len>=0x62", "70<len", "(len) - 14 > 58", "not (len > 70)",
		"len / 2 * 2 != len", "len & 1 = 0", "1 = 1 and tcp", "1 > 2 or udp", "tcp-syn = 2 and tcp", "(tcp-syn|tcp-ack) = 18 and udp",
		"icmp[icmptype] == icmp-echo", "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply", "icmp[0]=3&&icmp[icmpcode]=1",
		"icmp6[icmp6type] = icmp6-echoreply", "icmp6[0] < 128", "ip[8] < 64", "ip6[7] = 64", "ip[1] != 0", "ip[2:2] > 70", "ip6[4:2] < 60",
		"ip[4:2] = 3", "ip[6:2] & 0x1fff = 0", "ip[6] & 0x40 != 0", "ip[6:2] & 0x3fff != 0", "ip[9] = 17", "ip[12:4] = 0x0a000001", "ip6[8:4] = 0xfd000000",
		"ip[16:4] - ip[12:4] = 1", "ip[12] + 214 = ip[16]", "-ip[8] & 0xff = 192", "ip[8] - 64 = 0xffffffff",
		// Bytes that only the first hop has.
		"ip[0] = 0x45", "ip6[6] = 17", "ip[20:2] = 80 and (tcp or udp)", "ip6[42:2] = 53", "icmp6 and ip6[40] = 129", "udp[4:2] > 40 and ip",
		"tcp[12] & 0xf0 = 0x50 and ip", "ip and tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0", "ip and udp[8:4] = 0", "icmp[2:2] != 0", "sctp[4:4] != 0 and ip",
		"ether[12:2] = 0x86dd", "ip[len - 15] = 0", "ip[2:2] - 4 = len - 18 and ip[(ip[0] & 0xf) << 2] = 0",
		// How tightly operators bind.
		"len - 14 - 20 = 36", "len - (14 - 20) < 70", "ip[8] << 1 + 1 = 256", "ip[8] & 1 | 2 = 3", "1 | 2 & 4 = 1 and tcp",
		"ip[1] >> 4 + 0 = 1", "ip[8] * 2 + 1 = 129", "1 + ip[8] * 2 = 129", "ip[8] / 2 * 2 = 62", "(ip[8] & 1) + 1 = 2", "(ip[8] % 2) = 1", "ip[8] ^ 63 = 1",
		"ip[8]&1!=0", "ip[8] & 1 = 0 && ip[1] = 0", "len>60&&len<90", "((len)) > 70", "((ip[8] & 1) = 1)",
	)
	exprs = append(exprs, onTCP("[tcpflags] & (tcp-syn|tcp-fin) != 0"), onTCP("[13] & 2 != 0"), onTCP("[tcpflags] == tcp-syn|tcp-ack"),
		onTCP("[tcpflags] & tcp-rst = 0"), onTCP("[0:2] = 22"), onTCP("[4:4] > 1"), onTCP("[8:4] = 0"), onTCP("[14:2] < 2"))
	r := rand.New(rand.NewPCG(2, 3))
	for range 600 {
		exprs = append(exprs, randomExpr(r, 3))
	}
	compare(t, c, program, exprs, 400)
}

// TestAgreesWithTcpdumpOnTags is about frames that have a tag. For tcpdump the
// word vlan moves all that follows behind the tag, which natlens looks behind
// anyhow.
func TestAgreesWithTcpdumpOnTags(t *testing.T) {
	exprs := same("vlan", "vlan 5", "vlan 6 and udp", "vlan and host 10.0.0.1", "not vlan 5", "vlan 5 and not tcp", "vlan 7",
		"ether src 02:42:ac:11:00:02", "multicast", "less 74", "len > 78 and vlan 6")
	r := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		e := randomExpr(r, 2)
		exprs = append(exprs, expression{"vlan 5 and (" + e.ours + ")", "vlan 5 and (" + e.theirs + ")"},
			expression{e.ours, "vlan and (" + e.theirs + ")"})
	}
	compare(t, newCorpus(t, true), needTcpdump(t), exprs, 80)
}

// onTCP is about bytes of TCP, which tcpdump finds behind IPv4 only.
func onTCP(rest string) expression {
	offset := strings.NewReplacer("[tcpflags]", "[53]", "[13]", "[53]", "[0:2]", "[40:2]", "[2:2]", "[42:2]",
		"[4:4]", "[44:4]", "[8:4]", "[48:4]", "[14:2]", "[54:2]")
	return expression{"tcp" + rest, "((tcp" + rest + ") or (ip6 proto 6 and ip6" + offset.Replace(rest) + "))"}
}

// compare holds that both pick the same packets; some expressions at least must
// pick some and leave others.
func compare(t *testing.T, c corpus, program string, exprs []expression, least int) {
	t.Helper()
	some := 0
	for _, e := range exprs {
		want, got := c.tcpdump(t, program, e.theirs), c.filter(t, e.ours)
		if !slices.Equal(got, want) {
			t.Errorf("%q picks %d packets, tcpdump %d; first difference: %s", e.ours, len(got), len(want), c.difference(got, want))
		}
		if len(want) > 0 && len(want) < len(c.journeys) {
			some++
		}
	}
	if some < least {
		t.Errorf("only %d of %d expressions pick some packets and leave others", some, len(exprs))
	}
}

func (c corpus) difference(got, want []int) string {
	for i, j := range c.journeys {
		if g, w := slices.Contains(got, i), slices.Contains(want, i); g != w {
			return fmt.Sprintf("packet %d %v %t, tcpdump %t", i, j.Hops[0].Headers.Tuple, g, w)
		}
	}
	return "none"
}
