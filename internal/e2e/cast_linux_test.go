package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// stage is a kind of host on which the load plays.
type stage struct {
	suffix   string   // of its cases' names
	args     []string // dockerd's
	filtered string   // net.bridge.bridge-nf-call-iptables
	snaplen  []string // the watch's
	rounds   func(*cast) map[string]func(string)
}

// cast is who takes part in the load.
type cast struct {
	*load
	spaces map[string]*netns.Handle
	ip     map[string]netip.Addr
	ip6    map[string]netip.Addr
	mac    map[string]net.HardwareAddr // of docker0, and of back's link
	echoID atomic.Uint32
	older  []*net.TCPConn // that began before anybody watched
	// tracked is conntrack on the host while the load plays.
	tracked *oracletest.Tracker
}

// back and database have docker0's network, as has sink, of which the bridge
// learns no address; front has one of its own, and so has routed, whose addresses
// are those that the world sees.
var containers = []string{"back", "database", "front", "routed", "sink"}

var (
	host6     = netip.MustParseAddr(hostAddress6)
	world6    = netip.MustParseAddr(internet6)
	localhost = netip.MustParseAddr("127.0.0.1")
	elsewhere = netip.MustParseAddr("198.51.100.77") // nobody's; the host translates it
	tunnel    = netip.MustParseAddr("198.51.100.99") // behind a link that takes 1000 bytes
)

// Ports, each of one case at both ends of a proxy or of a rule.
const (
	portRedirected = 8099 // becomes portProgram
	portProgram    = 8098
	portProxied    = 8020
	portRandom     = 5001
	portLost       = 5009
	portAlike      = 5008
	portInput      = 7777
	portLossy      = 8003
	portTrains     = 5010
	portShuffled   = 5011
)

func newCast(t *testing.T, e *engine.Engine) *cast {
	masked := []string{"-o", "com.docker.network.bridge.enable_ip_masquerade=false"}
	e.Network("--ipv6", "--subnet", "172.30.4.0/24", "--subnet", "fd00:2::/64", "back_net")
	e.Network(append(masked, "--ipv6", "--subnet", "172.30.5.0/24", "--subnet", "fd00:3::/64", "routed_net")...)
	e.Run("--name", "back", "-p", "8000:8000", "-p", "8002:8002", "-p", "5000:5000/udp", "-p", fmt.Sprintf("%d:%d", portProxied, portProxied), "box")
	e.Run("--name", "database", "box")
	e.Run("--name", "sink", "box")
	e.Run("--name", "front", "--network", "back_net", "-p", "8001:8000", "box")
	e.Run("--name", "routed", "--network", "routed_net", "box")
	c := &cast{load: &load{t: t, e: e}, spaces: map[string]*netns.Handle{}, ip: map[string]netip.Addr{}, ip6: map[string]netip.Addr{}}
	c.echoID.Store(1000)
	c.setUp()
	for _, name := range containers {
		c.spaces[name] = e.Namespace(name)
		address := func(field string) netip.Addr {
			return netip.MustParseAddr(e.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{."+field+"}}{{end}}", name))
		}
		c.ip[name], c.ip6[name] = address("IPAddress"), address("GlobalIPv6Address")
		c.serve(c.spaces[name], c.ip[name], c.ip6[name])
	}
	c.mac = map[string]net.HardwareAddr{"docker0": hardware(t, ipLinks(t, e.Command)["docker0"]), "back": hardware(t, ipLinks(t, inContainer(e, "back"))["eth0"])}
	// A datagram socket on all addresses would answer from another one.
	c.serve(e.Internet(), internet, world6)
	c.serve(e.Host(), hostAddress, host6)
	c.answerTCP(c.spaces["back"], portProxied)
	c.answerAt(c.spaces["back"], netip.AddrPortFrom(netip.IPv6Unspecified(), portProxied))
	c.answerTCP(e.Host(), portProgram)
	for _, port := range []uint16{portLost, portAlike, portTrains, portShuffled} {
		c.hearUDP(e.Internet(), netip.AddrPortFrom(internet, port))
	}
	c.hearUDP(e.Internet(), netip.AddrPortFrom(world6, portTrains))
	c.hearUDP(e.Host(), netip.AddrPortFrom(hostAddress, portInput))
	c.learnWays()
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(internet, 8000), netip.AddrPortFrom(world6, 8000)} {
		c.older = append(c.older, c.open("older", c.spaces["back"], 0, to))
	}
	c.older = append(c.older, c.open("older", e.Internet(), 0, netip.AddrPortFrom(hostAddress, 8000)))
	return c
}

// serve answers and swallows on all ports that the load uses everywhere.
func (c *cast) serve(in *netns.Handle, ip, ip6 netip.Addr) {
	published := in == c.e.Host() // docker-proxy listens there
	for _, a := range []netip.Addr{ip, ip6} {
		all := netip.IPv4Unspecified()
		if a.Is6() {
			all = netip.IPv6Unspecified()
		}
		c.answerUDP(in, netip.AddrPortFrom(a, portRandom))
		c.answerAt(in, netip.AddrPortFrom(all, portLossy))
		c.swallowAt(in, netip.AddrPortFrom(all, 8010))
		if published {
			continue
		}
		c.answerUDP(in, netip.AddrPortFrom(a, 5000))
		c.answerAt(in, netip.AddrPortFrom(all, 8000))
		c.swallowAt(in, netip.AddrPortFrom(all, 8002))
	}
}

// setUp gives the host its second protocol, its uplink a network card's habits,
// and both rules that are not Docker's.
func (c *cast) setUp() {
	host := func(line string, args ...any) { c.run(c.e.Command, line, args...) }
	outside := func(line string, args ...any) { c.run(c.e.CommandOutside, line, args...) }
	host("ip -6 address add %s/64 dev eth0 nodad", hostAddress6)
	outside("ip -6 address add %s/64 dev eth0 nodad", internet6)
	host("ip -6 route add default via %s", internet6)
	outside("ip -6 route add fd00:3::/64 via %s", hostAddress6)
	outside("ip route add 172.30.5.0/24 via %s", hostAddress)
	outside("ip link add tunnel mtu 1000 up type bridge")
	outside("ip route add %s dev tunnel", tunnel)
	outside("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	host("sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0")
	// What the uplink sends is cut to its size, as on a network card without
	// offloads.
	host("ethtool -K eth0 tso off gso off tx-udp-segmentation off")
	// What front sends is cut before it leaves, and merged where the host takes it.
	c.run(inContainer(c.e, "front"), "ethtool -K eth0 tso off gso off tx-udp-segmentation off")
	veth := vethOf(c.t, c.e, "front", "eth0")
	host("ethtool -K %s gro on", veth)
	host("ethtool -K %s rx-udp-gro-forwarding on", veth)
	host("iptables -t nat -I PREROUTING -i docker0 -p tcp --dport %d -j REDIRECT --to-ports %d", portRedirected, portProgram)
	host("iptables -t nat -I OUTPUT -d %s -p udp -j DNAT --to-destination %s", elsewhere, internet)
	host("iptables -t nat -I POSTROUTING -o eth0 -p udp --dport %d -j MASQUERADE --random-fully", portRandom)
	for _, program := range []string{"iptables", "ip6tables"} {
		host("%s -I INPUT -p udp --dport %d -j DROP", program, portInput)
		// Some segments are lost behind the first tap, and sent again.
		host("%s -I FORWARD -p tcp --dport %d -m statistic --mode nth --every 9 --packet 4 -j DROP", program, portLossy)
	}
	host("iptables -I FORWARD -p udp --dport %d -m statistic --mode nth --every 5 --packet 2 -j DROP", portLost)
	// Who came in by routed_net's own addresses may go on.
	host("iptables -I DOCKER-USER -i eth0 -d 172.30.5.0/24 -j ACCEPT")
	host("ip6tables -I FORWARD -i eth0 -d fd00:3::/64 -j ACCEPT")
	for name, l := range ipLinks(c.t, inContainer(c.e, "sink")) {
		if name == "eth0" {
			veth := vethOf(c.t, c.e, "sink", "eth0")
			host("ip link set %s type bridge_slave learning off", veth)
			_ = c.e.Command("bridge", "fdb", "del", l.Address, "dev", veth, "master").Run() // it may not have been learnt
		}
	}
}

func (c *cast) run(prepare func(string, ...string) *exec.Cmd, line string, args ...any) {
	c.t.Helper()
	words := strings.Fields(fmt.Sprintf(line, args...))
	must(c.t, prepare(words[0], words[1:]...))
}

// learnWays waits until each end reaches the others: addresses of IPv6 are
// tentative at first (RFC 4862).
func (c *cast) learnWays() {
	c.t.Helper()
	for _, name := range containers {
		for _, to := range []netip.Addr{internet, world6} {
			await(c.t, 10*time.Second, fmt.Sprintf("%s to reach %v", name, to), func() bool {
				ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
				defer stop()
				_, err := lab.Ping(ctx, c.spaces[name], to, lab.Echo{ID: 999})
				return err == nil
			})
		}
	}
}

// host is whose addresses are where, as ip(8) tells, and what the load knows of
// its own packets.
func (c *cast) host() *oracletest.Host {
	h := hostOf(c.t, c.e, containers)
	for name, l := range ipLinks(c.t, c.e.Command) {
		if name == "eth0" {
			h.Uplinks = map[int]bool{l.Ifindex: true}
		}
	}
	h.Inside = map[string]bool{}
	for _, name := range containers {
		if name != "routed" {
			h.Inside[c.ip[name].String()], h.Inside[c.ip6[name].String()] = true, true
		}
	}
	h.Drop = func(p *oracletest.Packet) (hook, rule string) {
		switch name, _, _ := strings.Cut(c.caseOf(p), "/"); name {
		case "isolated":
			return "forward", "DOCKER-ISOLATION-STAGE-2"
		case "resent":
			return "forward", fmt.Sprintf("--dport %d -m statistic", portLossy)
		case "lost":
			return "forward", fmt.Sprintf("--dport %d -m statistic", portLost)
		case "input":
			return "input", fmt.Sprintf("--dport %d -j DROP", portInput)
		}
		return "", ""
	}
	h.Redirected = func(p *oracletest.Packet) bool { return strings.HasPrefix(c.caseOf(p), "redirect") }
	return h
}

// hostOf is whose addresses are where, as ip(8) tells.
func hostOf(t *testing.T, e *engine.Engine, containers []string) *oracletest.Host {
	t.Helper()
	h := &oracletest.Host{Addresses: map[uint64]map[string]bool{}, Containers: map[uint64]string{}, Self: uint64(e.Host().ID())}
	add := func(space uint64, cmd *exec.Cmd) {
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var links []struct {
			Info []struct{ Local string } `json:"addr_info"`
		}
		if err := json.Unmarshal(out, &links); err != nil {
			t.Fatal(err)
		}
		h.Addresses[space] = map[string]bool{}
		for _, l := range links {
			for _, a := range l.Info {
				h.Addresses[space][a.Local] = true
			}
		}
	}
	add(uint64(e.Host().ID()), e.Command("ip", "-j", "addr"))
	for _, name := range containers {
		space := uint64(e.Namespace(name).ID())
		h.Containers[space] = name
		add(space, e.CommandIn(name, "ip", "-j", "addr"))
	}
	return h
}

// caseOf names the case of a packet by whose traffic it is, before translation or
// after it.
func (l *load) caseOf(p *oracletest.Packet) string {
	for i := range p.Sightings {
		protocol, ends := p.Sightings[i].Conversation()
		all := ends[:]
		if p.Entry != nil {
			all = append(all, p.Entry.Original[:]...)
		}
		for _, end := range all {
			owners := l.cases[party{protocol, end.IP, int(end.Port)}]
			for n, o := range slices.Backward(owners) {
				if n == 0 || o.since.UnixNano() <= p.Sightings[0].Time {
					return o.name
				}
			}
		}
	}
	return "other"
}

// number is a port that the kernel gives to nobody by itself.
func (c *cast) number() uint16 { return 10000 + uint16(c.echoID.Add(1)%20000) }
