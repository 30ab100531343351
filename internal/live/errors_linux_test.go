package live

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// farAddress is behind the internet's gateway, by a link that takes 1300 bytes.
var farAddress = netip.MustParseAddr("203.0.113.9")

// ipIn runs ip(8) in a namespace, line by line.
func ipIn(t *testing.T, in *netns.Handle, lines ...string) {
	t.Helper()
	needPrograms(t, "ip")
	for _, line := range lines {
		if err := in.Do(func() error {
			out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ip %s: %w: %s", line, err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// translating puts NAT rules at prerouting of the host's namespace until the test
// ends.
func translating(t *testing.T, rules string) {
	t.Helper()
	hooking(t, "type nat hook prerouting priority -100", rules)
}

// datagrams is a socket whose datagrams must not be cut, and die after ttl routers;
// 0 leaves that as it is.
func datagrams(t *testing.T, in *netns.Handle, port uint16, to netip.AddrPort, ttl int) *net.UDPConn {
	t.Helper()
	u, err := lab.DialUDP(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		if ttl > 0 {
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl))
		}
	}), err); err != nil {
		t.Fatal(err)
	}
	return u
}

// refusal is an ICMP error that a datagram must bring back.
type refusal struct {
	what       string
	from       *netns.Handle
	to         netip.AddrPort
	ttl, size  int
	kind, code uint8
	path       string // of the error
	changes    string
	// outer and quoted addresses, at the first hop and at the last; PORT is the
	// datagram's source port.
	first, last string
	about       string // the datagram's path, changes and result
}

// brings sends the datagram and holds the error that comes back against what it
// must be.
func (r *refusal) brings(t *testing.T, w *watch, port uint16) {
	t.Helper()
	u := datagrams(t, r.from, port, r.to, r.ttl)
	if _, err := u.Write(make([]byte, r.size)); err != nil {
		t.Fatal(err)
	}
	question := w.journey("the datagram", func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.SourcePort == port
	})
	j := w.journey("the error", func(j *trace.Journey) bool {
		return j.Protocol == packet.ICMP && j.Hops[0].Headers.Layers.Has(packet.LayerQuoted) && j.Hops[0].Headers.ICMPType == r.kind && j.Hops[0].Headers.ICMPCode == r.code &&
			(j.Hops[0].Headers.Quoted.SourcePort == port || j.Hops[len(j.Hops)-1].Headers.Quoted.SourcePort == port)
	})
	if got := pathOf(j) + " | " + changesOf(j); got != r.path+" | "+r.changes {
		t.Errorf("the error: %s, want %s | %s", got, r.path, r.changes)
	}
	if len(j.Related) != 1 || j.Related[0] != (trace.Relation{ID: question.ID, Why: "error_about"}) {
		t.Errorf("the error is related to %v, want #%d", j.Related, question.ID)
	}
	if got := pathOf(question) + " | " + changesOf(question) + " | " + string(question.Verdict.Result); got != r.about {
		t.Errorf("the datagram: %s, want %s", got, r.about)
	}
	for _, c := range []struct {
		what string
		h    *trace.Hop
		want string
	}{{"first", &j.Hops[0], r.first}, {"last", &j.Hops[len(j.Hops)-1], r.last}} {
		t4, q := c.h.Headers.Tuple, c.h.Headers.Quoted
		if got, want := fmt.Sprintf("%v > %v about %v", t4.Source(), t4.Destination(), q), strings.ReplaceAll(c.want, "PORT", fmt.Sprint(port)); got != want {
			t.Errorf("%s hop: %s, want %s", c.what, got, want)
		}
	}
}

// ICMP errors come back through the NAT that the packet which they are about has
// passed: both the header and the quoted one are translated.
func TestErrorsThroughMasquerade(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	// A veth to nowhere: its neighbour is said to be there.
	ipIn(t, h.Internet(), "link add far mtu 1300 type veth peer name farend mtu 1300", "address add 203.0.113.1/24 dev far",
		"link set far up", "link set farend up", "neighbour add 203.0.113.9 lladdr 02:00:00:00:00:09 dev far")
	if err := h.Internet().Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }); err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, Config{})
	veth := "host/" + back.HostLink
	out := "back/eth0:out " + veth + ":in host/docker0:in"
	in := "host/docker0:out " + veth + ":out back/eth0:in"
	const masquerade, undo = "masquerade[2 3] by POSTROUTING [conntrack]", "undo masquerade[0 1] by POSTROUTING [conntrack]"
	far := netip.AddrPortFrom(farAddress, 33434)
	for i, r := range []refusal{
		{what: "port unreachable", to: netip.AddrPortFrom(lab.ServerAddress, 9), kind: 3, code: 3, path: "host/eth0:in " + in, changes: undo,
			first: "198.51.100.7 > 192.0.2.10 about udp 192.0.2.10:PORT > 198.51.100.7:9", last: "198.51.100.7 > 172.17.0.2 about udp 172.17.0.2:PORT > 198.51.100.7:9",
			about: out + " host/eth0:out | " + masquerade + " | left"},
		{what: "time exceeded at the host", to: far, ttl: 1, kind: 11, path: in,
			first: "172.17.0.1 > 172.17.0.2 about udp 172.17.0.2:PORT > 203.0.113.9:33434", last: "172.17.0.1 > 172.17.0.2 about udp 172.17.0.2:PORT > 203.0.113.9:33434",
			about: out + " |  | dropped"},
		{what: "time exceeded at the gateway", to: far, ttl: 2, kind: 11, path: "host/eth0:in " + in, changes: undo,
			first: "192.0.2.1 > 192.0.2.10 about udp 192.0.2.10:PORT > 203.0.113.9:33434", last: "192.0.2.1 > 172.17.0.2 about udp 172.17.0.2:PORT > 203.0.113.9:33434",
			about: out + " host/eth0:out | " + masquerade + " | left"},
		{what: "fragmentation needed", to: far, size: 1400, kind: 3, code: 4, path: "host/eth0:in " + in, changes: undo,
			first: "192.0.2.1 > 192.0.2.10 about udp 192.0.2.10:PORT > 203.0.113.9:33434", last: "192.0.2.1 > 172.17.0.2 about udp 172.17.0.2:PORT > 203.0.113.9:33434",
			about: out + " host/eth0:out | " + masquerade + " | left"},
	} {
		r.from = back.Namespace()
		t.Run(r.what, func(t *testing.T) {
			w.t = t
			r.brings(t, w, uint16(39000+i))
		})
	}
	w.t = t
}

func TestErrorsThroughDNAT(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	translating(t, "ip daddr 192.0.2.10 udp dport { 5001, 5002 } dnat to 172.17.0.2")
	ipIn(t, h.Namespace(), "link set docker0 mtu 1300")
	w := startWatch(t, Config{})
	veth := "host/" + back.HostLink
	in := "host/eth0:in host/docker0:out " + veth + ":out back/eth0:in"
	out := "back/eth0:out " + veth + ":in host/docker0:in host/eth0:out"
	// The first packet of a flow: what it begins is never confirmed.
	const foretold = "host/eth0:in | dnat[0 -1] by test [evaluated] | dropped"
	own := "192.0.2.10 > 192.0.2.1 about udp 192.0.2.1:PORT > 192.0.2.10:5002"
	for i, r := range []refusal{
		{what: "port unreachable", to: netip.AddrPortFrom(lab.HostAddress, 5001), kind: 3, code: 3, path: out, changes: "undo dnat[2 3] by test [conntrack]",
			first: "172.17.0.2 > 192.0.2.1 about udp 192.0.2.1:PORT > 172.17.0.2:5001", last: "192.0.2.10 > 192.0.2.1 about udp 192.0.2.1:PORT > 192.0.2.10:5001",
			about: in + " | dnat[0 1] by test [conntrack] | delivered"},
		{what: "time exceeded", to: netip.AddrPortFrom(lab.HostAddress, 5002), ttl: 1, kind: 11, path: "host/eth0:out", first: own, last: own, about: foretold},
		{what: "fragmentation needed", to: netip.AddrPortFrom(lab.HostAddress, 5002), size: 1400, kind: 3, code: 4, path: "host/eth0:out", first: own, last: own, about: foretold},
	} {
		r.from = h.Internet()
		t.Run(r.what, func(t *testing.T) {
			w.t = t
			r.brings(t, w, uint16(39100+i))
		})
	}
	w.t = t
}
