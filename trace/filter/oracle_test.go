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
	hosts4 = []string{"10.0.0.1", "10.0.0.2", "10.1.0.1", "192.168.7.9"}
	hosts6 = []string{"fd00::1", "fd00::2", "fe80::7"}
	portsN = []uint16{22, 53, 80, 81, 443, 8080}
)

// newCorpus makes one packet of every protocol between all pairs of hosts, with
// ports that vary, and fragments of some.
func newCorpus(t *testing.T) corpus {
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
		j := &trace.Journey{Hops: make([]trace.Hop, 1)}
		h := &j.Hops[0].Headers
		h.Parse(packet.Ethernet, data, uint32(len(data)))
		j.Protocol = h.Tuple.Protocol
		c.journeys = append(c.journeys, j)
	}
	r := rand.New(rand.NewPCG(1, 1))
	port := func() uint16 { return portsN[r.IntN(len(portsN))] }
	for _, hosts := range [][]string{hosts4, hosts6} {
		for _, s := range hosts {
			for _, d := range hosts {
				for _, p := range []packet.Protocol{packet.TCP, packet.UDP, packet.SCTP, packet.ICMP, packet.ICMPv6, 47} {
					if six := s[0] == 'f'; p == packet.ICMP && six || p == packet.ICMPv6 && !six {
						continue
					}
					data := frame(t, s, d, p, port(), port())
					add(data)
					if s[0] != 'f' && r.IntN(3) == 0 { // a later fragment, and a first
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

func frame(t *testing.T, s, d string, p packet.Protocol, sport, dport uint16) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	var network gopacket.SerializableLayer = &layers.IPv4{
		Version: 4, TTL: 64, Protocol: layers.IPProtocol(p), SrcIP: net.ParseIP(s), DstIP: net.ParseIP(d),
	}
	if s[0] == 'f' {
		eth.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(p), SrcIP: net.ParseIP(s), DstIP: net.ParseIP(d)}
	}
	stack := []gopacket.SerializableLayer{eth, network}
	switch p {
	case packet.TCP:
		stack = append(stack, &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), SYN: true})
	case packet.UDP:
		stack = append(stack, &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)})
	case packet.SCTP:
		stack = append(stack, &layers.SCTP{SrcPort: layers.SCTPPort(sport), DstPort: layers.SCTPPort(dport)})
	case packet.ICMP:
		stack = append(stack, &layers.ICMPv4{TypeCode: 8 << 8})
	case packet.ICMPv6:
		stack = append(stack, &layers.ICMPv6{TypeCode: 128 << 8})
	}
	stack = append(stack, gopacket.Payload(make([]byte, 16)))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(buf.Bytes())
}

// tcpdump returns which packets of the corpus tcpdump picks.
func (c corpus) tcpdump(t *testing.T, program, expr string) []int {
	t.Helper()
	cmd := exec.Command(program, "-r", "-", "-nn", "-tt", "-q", expr)
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
	f, err := Parse(expr, nil)
	if err != nil {
		t.Fatalf("Parse(%q): %v", expr, err)
	}
	protocols := f.Protocols()
	var picked []int
	for i, j := range c.journeys {
		if !f.Match(j) {
			continue
		}
		picked = append(picked, i)
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

// TestAgreesWithTcpdump reads one file with tcpdump and with Filter.
func TestAgreesWithTcpdump(t *testing.T) {
	program := needTcpdump(t)
	c := newCorpus(t)
	exprs := []string{
		"", "tcp", "udp", "sctp", "icmp", "icmp6", "ip", "ip6", "not ip", "not tcp",
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
		"net 10.1 or 192.168", "tcp port 80 or (81 or 443)",
	}
	r := rand.New(rand.NewPCG(2, 3))
	for len(exprs) < 300 {
		exprs = append(exprs, randomExpr(r, 3))
	}
	some := 0
	for _, expr := range exprs {
		want, got := c.tcpdump(t, program, expr), c.filter(t, expr)
		if !slices.Equal(got, want) {
			t.Errorf("%q picks %d packets, tcpdump %d; first difference: %s", expr, len(got), len(want), c.difference(got, want))
		}
		if len(want) > 0 && len(want) < len(c.journeys) {
			some++
		}
	}
	if some < 200 {
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

// randomExpr builds an expression of everything but containers.
func randomExpr(r *rand.Rand, depth int) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 {
		switch r.IntN(5) {
		case 0:
			return "not " + randomExpr(r, depth-1)
		case 1:
			return "(" + randomExpr(r, depth-1) + ")"
		case 2, 3:
			return randomExpr(r, depth-1) + pick(" and ", " or ", " && ", " || ") + randomExpr(r, depth-1)
		}
	}
	dir := pick("", "", "src ", "dst ", "src or dst ", "src and dst ")
	host := append(slices.Clone(hosts4), hosts6...)
	number := func() string { return strconv.Itoa(int(portsN[r.IntN(len(portsN))])) }
	switch r.IntN(6) {
	case 0:
		return pick("tcp", "udp", "icmp", "icmp6", "ip", "ip6", "sctp")
	case 1:
		if r.IntN(4) == 0 {
			return "ip6 " + dir + "host " + pick(hosts6...)
		}
		return dir + "host " + pick(host...)
	case 2:
		return dir + "net " + pick("10.0.0.0/8", "10.1", "192.168.7.0/24", "fd00::/64", "10.0.0.0/30")
	case 3:
		return pick("", "tcp ", "udp ", "sctp ") + dir + "port " + number()
	case 4:
		return pick("", "tcp ", "udp ") + dir + "portrange " + number() + "-" + number()
	}
	return dir + "port " + number() + pick(" or ", " and ") + pick("", "not ") + number()
}
