package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// behind is where the internet's gateway has a link with a small MTU.
var behind = netip.MustParseAddr("203.0.113.9")

// narrowInternet makes the internet a router with a link of 1300 bytes.
func narrowInternet(t *testing.T, e *engine.Engine) {
	for _, line := range []string{
		"sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0",
		"ip link add far mtu 1300 type veth peer name farend mtu 1300",
		"ip address add 203.0.113.1/24 dev far",
		"ip link set far up", "ip link set farend up",
		"ip neighbour add 203.0.113.9 lladdr 02:00:00:00:00:09 dev far",
	} {
		words := strings.Fields(line)
		must(t, e.CommandOutside(words[0], words[1:]...))
	}
	must(t, e.Command("sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0"))
}

// datagrams is a socket whose datagrams must not be cut.
func (s *scene) datagrams(in *netns.Handle, port uint16, to netip.AddrPort) *net.UDPConn {
	s.t.Helper()
	u, err := lab.DialUDP(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), to)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = u.Close() })
	s.set(u, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_PROBE)
	return u
}

func (s *scene) set(u *net.UDPConn, option, value int) {
	s.t.Helper()
	raw, err := u.SyscallConn()
	s.must(err)
	s.must(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, option, value) }))
	s.must(err)
}

func (s *scene) write(u *net.UDPConn, size int) {
	s.t.Helper()
	_, err := u.Write(s.words(size))
	s.must(err)
	time.Sleep(20 * time.Millisecond) // so that one error ends before the next begins
}

// told is an error and the journey that it is about.
type told struct{ about, refusal *journey }

// errorOf finds the only ICMP error of that type and code about a datagram from
// that port.
func errorOf(t *testing.T, all []journey, kind, code int, about func(*journey) bool) told {
	t.Helper()
	question := only(t, "datagram", with(all, about))
	refusal := only(t, fmt.Sprintf("error %d/%d about #%d", kind, code, question.ID), with(all, func(j *journey) bool {
		return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == kind && j.Hops[0].ICMP.Code == code &&
			len(j.Related) == 1 && j.Related[0].Why == "error_about" && j.Related[0].ID == question.ID
	}))
	return told{question, refusal}
}

// quotes are the outer and the quoted addresses of an error at its first and its
// last hop.
func quotes(j *journey) []string {
	var text []string
	for _, h := range []oracletest.Hop{j.Hops[0], j.Hops[len(j.Hops)-1]} {
		q := "nothing"
		if h.Quoted != nil {
			q = ends(h.Quoted.Source, h.Quoted.Destination)
		}
		text = append(text, fmt.Sprintf("%s > %s about %s", h.Source.IP, h.Destination.IP, q))
	}
	return text
}

// ICMP errors come back through the NAT that the packet which they are about has
// passed; both the header and the header that they quote are translated.
func TestCaseErrorsThroughMasquerade(t *testing.T) {
	e := engine.Start(t)
	narrowInternet(t, e)
	e.Run("--name", "back", "box")
	back := ipOf(t, e, "back", "bridge").String()
	s := openScene(t, e, "back")
	s.drops = true
	in := e.Namespace("back")
	s.write(s.datagrams(in, 39000, netip.AddrPortFrom(internet, 9)), 40) // nobody listens
	for ttl, port := range map[int]uint16{1: 39001, 2: 39002} {
		u := s.datagrams(in, port, netip.AddrPortFrom(behind, 33434))
		s.set(u, syscall.IP_TTL, ttl)
		s.write(u, 40)
	}
	s.write(s.datagrams(in, 39003, netip.AddrPortFrom(behind, 33434)), 1400)
	all := s.close()

	out := "back:eth0 out, host:VETH in, host:docker0 in"
	for _, c := range []struct {
		what       string
		port       uint16
		kind, code int
		from       string // who sends the error
		path       string // of the datagram
		end        string
		reason     string
	}{
		{"port unreachable", 39000, 3, 3, "198.51.100.7", out + ", host:eth0 out", "left", ""},
		{"time exceeded at the host", 39001, 11, 0, "172.17.0.1", out, "dropped", "time to live exceeded, says 172.17.0.1"},
		{"time exceeded at the gateway", 39002, 11, 0, "192.0.2.1", out + ", host:eth0 out", "left", ""},
		{"fragmentation needed", 39003, 3, 4, "192.0.2.1", out + ", host:eth0 out", "left", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := errorOf(t, all, c.kind, c.code, func(j *journey) bool { return j.Hops[0].Source.Port == c.port })
			same(t, "path", vethNamed(shape(x.about)), c.path)
			same(t, "end", x.about.Verdict.Result, c.end)
			says(t, "reason", x.about.Verdict.Reason, c.reason)
			same(t, "end of the error", x.refusal.End(), "delivered at back:eth0 in")
			direction := "reply"
			to := x.about.Hops[0].Destination
			inside := fmt.Sprintf("%s > %s about %s:%d > %s:%d", c.from, back, back, c.port, to.IP, to.Port)
			outside := fmt.Sprintf("%s > 192.0.2.10 about 192.0.2.10:%d > %s:%d", c.from, c.port, to.IP, to.Port)
			kinds := []string{"masquerade"}
			if c.from == "172.17.0.1" { // the host's own, before any NAT
				outside, kinds, direction = inside, nil, "none"
				same(t, "direction of the datagram", x.about.Direction, "none")
			}
			same(t, "direction", x.refusal.Direction, direction)
			if got := quotes(x.refusal); !slices.Equal(got, []string{outside, inside}) {
				t.Errorf("the error says %q, want %q", got, []string{outside, inside})
			}
			if got := kindsOf(x.refusal); !slices.Equal(got, kinds) {
				t.Errorf("the error's translations: %v, want %v", got, kinds)
			}
		})
	}
}

func TestCaseErrorsThroughDNAT(t *testing.T) {
	e := engine.Start(t)
	narrowInternet(t, e)
	e.Run("--name", "back", "-p", "5000:5000/udp", "-p", "5001:5001/udp", "box")
	back := ipOf(t, e, "back", "bridge").String()
	must(t, e.Command("ip", "link", "set", "docker0", "mtu", "1300"))
	l := &load{t: t, e: e}
	l.answerUDP(e.Namespace("back"), netip.AddrPortFrom(netip.MustParseAddr(back), 5000))
	s := openScene(t, e, "back")
	s.drops = true
	s.write(s.datagrams(e.Internet(), 39100, netip.AddrPortFrom(hostAddress, 5001)), 40) // nobody listens
	known := s.datagrams(e.Internet(), 39101, netip.AddrPortFrom(hostAddress, 5000))
	_, err := lab.Exchange(t.Context(), known, s.words(40))
	s.must(err)
	s.write(known, 1400) // the next write would tell of the error
	short := s.datagrams(e.Internet(), 39103, netip.AddrPortFrom(hostAddress, 5000))
	_, err = lab.Exchange(t.Context(), short, s.words(40))
	s.must(err)
	s.set(short, syscall.IP_TTL, 1)
	s.write(short, 41)
	// The first packet of a flow: what it begins is never confirmed.
	unknown := s.datagrams(e.Internet(), 39102, netip.AddrPortFrom(hostAddress, 5000))
	s.set(unknown, syscall.IP_TTL, 1)
	s.write(unknown, 42)
	all := s.close()

	for _, c := range []struct {
		what       string
		port       uint16
		length     int
		kind, code int
		from       string // who sends the error
		end, path  string // of the datagram
		reason     string
		evidence   string // of the datagram's translation
	}{
		{"port unreachable", 39100, 68, 3, 3, back, "delivered", "host:eth0 in, host:docker0 out, host:VETH out, back:eth0 in", "", "conntrack"},
		{"fragmentation needed", 39101, 1428, 3, 4, "192.0.2.10", "dropped", "host:eth0 in", "fragmentation needed, says 192.0.2.10", "conntrack"},
		{"time exceeded", 39103, 69, 11, 0, "192.0.2.10", "dropped", "host:eth0 in", "time to live exceeded, says 192.0.2.10", "conntrack"},
		{"time exceeded for a new flow", 39102, 70, 11, 0, "192.0.2.10", "dropped", "host:eth0 in", "time to live exceeded, says 192.0.2.10", "evaluated"},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := errorOf(t, all, c.kind, c.code, func(j *journey) bool { return j.Hops[0].Source.Port == c.port && j.Hops[0].Length == c.length })
			same(t, "path", vethNamed(shape(x.about)), c.path)
			same(t, "end", x.about.Verdict.Result, c.end)
			says(t, "reason", x.about.Verdict.Reason, c.reason)
			if got := kindsOf(x.about); !slices.Equal(got, []string{"dnat"}) {
				t.Fatalf("translations %v", got)
			}
			same(t, "evidence", x.about.Translations[0].Evidence, c.evidence)
			same(t, "to", x.about.To.Name, "back")
			same(t, "end of the error", x.refusal.End(), "left at host:eth0 out")
			asked := x.about.Hops[0].Destination.Port
			outside := fmt.Sprintf("192.0.2.10 > 192.0.2.1 about 192.0.2.1:%d > 192.0.2.10:%d", c.port, asked)
			inside := outside // the host's own comes out of it translated
			if c.from == back {
				inside = fmt.Sprintf("%s > 192.0.2.1 about 192.0.2.1:%d > %s:%d", back, c.port, back, asked)
			}
			if got := quotes(x.refusal); !slices.Equal(got, []string{inside, outside}) {
				t.Errorf("the error says %q, want %q", got, []string{inside, outside})
			}
		})
	}
}

// vethNamed writes VETH for the names that the engine gives.
func vethNamed(path string) string {
	words := strings.Fields(path)
	for i, w := range words {
		if strings.HasPrefix(w, "host:veth") {
			words[i] = "host:VETH"
		}
	}
	return strings.Join(words, " ")
}
