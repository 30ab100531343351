package filter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/capture/pcapng"
	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// everyday are expressions that people give to tcpdump. Of those that are about
// Ethernet's header, or about ways, each file is asked what it can answer.
var everyday = struct{ all, ethernet, cooked []string }{
	all: []string{
		"", "icmp", "tcp", "udp", "icmp or udp", "ip", "ip6", "not ip6", "not arp", "arp or icmp", "not arp and not icmp", "not icmp and not igmp",
		"tcp port 80", "port 80", "port http", "src port 80", "tcp dst port 8000", "port 5353 or port 8000", "portrange 8000-8080", "not port 80",
		"host 198.51.100.7", "src 198.51.100.7", "dst host 192.0.2.10", "net 172.17.0.0/16", "net 172.17", "src net 192.0.2.0/24 and not dst net 172.17",
		"host 172.17.0.2 and tcp", "host 192.0.2.10 and not port 80", "host 198.51.100.7 and (port 80 or icmp)", "host ::1",
		"ip and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "ip and tcp[tcpflags] == tcp-syn", "ip and tcp[13] & 4 != 0", "ip and tcp[tcpflags] & tcp-push != 0",
		"icmp[icmptype] == icmp-echo", "icmp[icmptype] != icmp-echo and icmp[icmptype] != icmp-echoreply", "icmp[0] = 3 and icmp[1] = 3",
		"ip[8] < 64", "ip[6] & 0x40 != 0", "ip[6:2] & 0x3fff != 0", "ip[2:2] > 100", "proto 1", "ip proto 6", `ip proto \udp`, "ip6 proto 17",
		"less 80", "greater 200", "len > 100 and len < 1000", "icmp and host 198.51.100.7 and less 120",
		"tcp port 80 and ip and tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "udp[8:4] = 0x746f2077", "icmp6 and ip6[40] == 135 or icmp",
		"udp and src host 172.17.0.2 and dst port 9", "tcp and host 172.17.0.2 and port 81",
	},
	ethernet: []string{
		"ether src %s", "not ether host %s", "broadcast", "multicast", "ip multicast", "ether[0] & 1 = 0", "ether proto 0x0800", `not ether proto \arp`,
	},
	cooked: []string{"inbound", "outbound", "outbound and icmp", "inbound and tcp port 80"},
}

// TestAgreesWithTcpdumpOnRecordings records what a small host does, on a link and on
// all links at once, and asks tcpdump -r and a Filter for the same.
func TestAgreesWithTcpdumpOnRecordings(t *testing.T) {
	program := needTcpdump(t)
	h := labtest.NewHost(t)
	mac := liven(t, h)
	dir := t.TempDir()
	stops := map[string]func(){}
	for name, args := range map[string][]string{
		"eth0": {"-i", "eth0"}, "sll": {"-i", "any", "-y", "LINUX_SLL"}, "sll2": {"-i", "any", "-y", "LINUX_SLL2"},
	} {
		stops[name] = recordTo(t, program, filepath.Join(dir, name), args...)
	}
	play(t, h)
	for _, stop := range stops {
		stop()
	}
	for name, exprs := range map[string][]string{
		"eth0": append(everyday.ethernet, everyday.all...), "sll": append(everyday.cooked, everyday.all...), "sll2": append(everyday.cooked, everyday.all...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			packets := readPackets(t, path)
			some := 0
			for _, expr := range exprs {
				if strings.Contains(expr, "%s") {
					expr = fmt.Sprintf(expr, mac)
				}
				f := mustParse(t, expr)
				var got []string
				for _, p := range packets {
					if f.Match(p.journey) {
						got = append(got, p.line)
					}
				}
				want := readPackets(t, askTcpdump(t, program, path, expr))
				if d := firstDifference(got, want); d != "" {
					t.Errorf("%q picks %d packets, tcpdump %d of %d; first difference: %s", expr, len(got), len(want), len(packets), d)
				}
				if len(want) > 0 && len(want) < len(packets) {
					some++
				}
			}
			if some < len(exprs)/2 {
				t.Errorf("only %d of %d expressions pick some of %d packets and leave others", some, len(exprs), len(packets))
			}
		})
	}
}

// liven furnishes a host, and returns the MAC of its eth0.
func liven(t *testing.T, h *lab.Host) (mac string) {
	t.Helper()
	must(t, lab.Scenarios()[0].Build(h))
	for in, at := range map[*netns.Handle][]string{h.Namespace(): {"[::1]:80", "127.0.0.1:80"}, h.Internet(): {"198.51.100.7:80"}} {
		for _, at := range at {
			s, err := lab.ServeHTTP(in, netip.MustParseAddrPort(at), strings.Repeat("hello ", 100))
			must(t, err)
			t.Cleanup(func() { _ = s.Close() })
		}
	}
	s, err := lab.EchoUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 5353))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	eth0, err := net.InterfaceByName(lab.Uplink)
	must(t, err)
	return eth0.HardwareAddr.String()
}

// play sends some of everything: echoes, requests answered and refused, datagrams,
// one of them in pieces, to one host and to many.
func play(t *testing.T, h *lab.Host) {
	t.Helper()
	ctx := t.Context()
	must(t, lab.Scenarios()[0].Play(ctx, h))
	back := h.Find("back").Namespace()
	for server, from := range map[string]*netns.Handle{"198.51.100.7:80": back, "[::1]:80": h.Namespace(), "127.0.0.1:80": h.Namespace()} {
		_, err := lab.Get(ctx, from, netip.MustParseAddrPort(server))
		must(t, err)
	}
	c, err := lab.DialUDP(back, netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, 5353))
	must(t, err)
	defer c.Close()
	for _, size := range []int{12, 12, 3000} {
		_, err = lab.Exchange(ctx, c, make([]byte, size))
		must(t, err)
	}
	if _, err := lab.DialTCP(ctx, back, netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, 81)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("port 81: %v", err)
	}
	for to, from := range map[string]*netns.Handle{"198.51.100.7:9": back, "192.0.2.255:9": h.Namespace(), "224.0.0.251:5353": h.Namespace()} {
		c, err := lab.DialUDP(from, netip.AddrPort{}, netip.MustParseAddrPort(to))
		must(t, err)
		defer c.Close()
		_, err = c.Write([]byte("to whom it concerns"))
		must(t, err)
	}
}

// recordTo runs tcpdump until stop is called.
func recordTo(t *testing.T, program, path string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program, append([]string{"-Z", "root", "--immediate-mode", "-U", "-n", "-w", path}, args...)...)
	said, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 200)
	for text := ""; !strings.Contains(text, "listening on"); {
		n, err := said.Read(line)
		text += string(line[:n])
		if err != nil {
			_ = cmd.Wait()
			t.Skipf("needs a tcpdump that may capture here: %s", text)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return func() {
		labtest.Idle(t, cmd.Process.Pid)
		must(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
	}
}

// recorded is a packet of a file: what tells it from others, and its journey.
type recorded struct {
	line    string
	journey *trace.Journey
}

// readPackets reads the IP packets of a file, each as a journey that was seen once,
// as natlens read takes them.
func readPackets(t *testing.T, path string) (packets []recorded) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r, err := pcapng.NewReader(f)
	must(t, err)
	var link packet.LinkType
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return packets
		}
		must(t, err)
		switch b := b.(type) {
		case *pcapng.Interface:
			link, _ = b.LinkType.Parser()
		case *pcapng.Packet:
			j := &trace.Journey{LinkType: link, Data: b.Data, Hops: make([]trace.Hop, 1)}
			hop := &j.Hops[0]
			hop.Headers.Parse(link, b.Data, b.WireLength)
			if !hop.Headers.IsIP() {
				continue
			}
			if hop.Type = capture.UnknownType; b.Direction != pcapng.UnknownDirection {
				hop.Type = capture.Host
			}
			if b.Direction == pcapng.Outbound {
				hop.Point.Direction, hop.Type = capture.Out, capture.Outgoing
			}
			j.Protocol = hop.Headers.Tuple.Protocol
			packets = append(packets, recorded{fmt.Sprintf("%d %v %x", b.Time, hop.Headers.Tuple, b.Data), j})
		}
	}
}

// askTcpdump has tcpdump write what it picks from a file to another one.
func askTcpdump(t *testing.T, program, path, expr string) (picked string) {
	t.Helper()
	picked = filepath.Join(t.TempDir(), "picked")
	out, err := exec.Command(program, "-Z", "root", "-r", path, "-w", picked, "--", expr).CombinedOutput()
	if err != nil {
		t.Fatalf("tcpdump %q: %v\n%s", expr, err, out)
	}
	return picked
}

// firstDifference says what one list has that the other has not; empty for nothing.
func firstDifference(got []string, want []recorded) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "missing " + want[i].line
		case i >= len(want) || got[i] != want[i].line:
			return "natlens has " + got[i]
		}
	}
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
