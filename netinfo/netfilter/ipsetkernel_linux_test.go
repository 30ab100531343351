package netfilter

import (
	"fmt"
	"math/rand"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// ipsetWorld is what the packets of the test are made of, for one family.
type ipsetWorld struct {
	iptables, family string
	sources          []string
	destinations     []string
	networks         []string // that hold some of the destinations, within each other
	full, narrow     int      // bits of an address, and of a netmask
	bitmapRange      string
}

var ipsetWorlds = []ipsetWorld{
	{
		iptables: "iptables-nft", family: "inet", full: 32, narrow: 30,
		sources:      []string{"10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"},
		destinations: []string{"198.18.0.1", "198.18.0.2", "198.18.1.1", "198.19.0.1", "198.19.7.7"},
		networks:     []string{"198.18.0.0/15", "198.18.0.0/16", "198.18.0.0/24", "198.18.0.0/30", "198.18.0.1/32", "198.19.0.0/16", "198.19.0.0/24"},
		bitmapRange:  "10.9.0.0/24",
	},
	{
		iptables: "ip6tables-nft", family: "inet6", full: 128, narrow: 127,
		sources:      []string{"fd09::2", "fd09::3", "fd09::4", "fd09::5"},
		destinations: []string{"fd77::1", "fd77::2", "fd77:0:1::1", "fd77:1::1", "fd77:1:7::7"},
		networks:     []string{"fd77::/16", "fd77::/32", "fd77::/48", "fd77::/127", "fd77::1/128", "fd77:1::/32", "fd77:1::/48"},
	},
}

// randomIPSets makes sets of every type that this kernel has, with random members; and a rule
// for each way to ask each.
func (w *ipsetWorld) randomIPSets(t *testing.T, h *netns.Handle, r *rand.Rand) (rules string) {
	t.Helper()
	pick := func(words []string) string { return words[r.Intn(len(words))] }
	port := func() string {
		protocol := []string{"udp", "tcp"}[r.Intn(2)]
		return fmt.Sprintf("%s:%d", protocol, []int{7000, 7001, 9000, 9001}[r.Intn(4)])
	}
	any := slices.Concat(w.sources, w.destinations)
	field := map[string]func() string{
		"ip": func() string { return pick(any) }, "port": port,
		"net":   func() string { return pick(append(slices.Clone(w.networks), any...)) },
		"iface": func() string { return pick([]string{"eth0", "docker0", "other"}) },
	}
	var b strings.Builder
	var lists []string
	for i, kind := range []string{
		"hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "hash:net", "hash:net,port", "hash:net,net", "hash:net,port,net", "hash:net,iface", "bitmap:ip", "bitmap:port",
	} {
		name := fmt.Sprintf("set%d", i)
		create := []string{"ipset", "create", name, kind}
		_, dimensions, _ := strings.Cut(kind, ":")
		parts := strings.Split(dimensions, ",")
		extras := []string{"", "", " timeout 1000"}[r.Intn(3)]
		switch kind {
		case "bitmap:ip":
			if w.bitmapRange == "" {
				continue
			}
			create = append(create, "range", w.bitmapRange)
		case "bitmap:port":
			create = append(create, "range", "7000-9000")
		default:
			create = append(create, "family", w.family)
			if kind == "hash:ip" && r.Intn(2) == 0 {
				create = append(create, "netmask", fmt.Sprint(w.narrow))
			}
		}
		if extras != "" {
			create = append(create, "timeout", "0", "counters", "comment")
		}
		if out, err := command(h, create...).CombinedOutput(); err != nil {
			if strings.Contains(string(out), "not supported") {
				t.Logf("this kernel has no %s", kind)
				continue
			}
			t.Fatalf("%v: %s", create, out)
		}
		for range 2 + r.Intn(6) {
			var member []string
			for _, part := range parts {
				member = append(member, field[part]())
			}
			words := strings.Join(member, ",")
			switch kind {
			case "bitmap:ip":
				words = pick(w.sources)
			case "bitmap:port":
				words = []string{"7000", "7001-7003", "9000"}[r.Intn(3)]
			}
			if strings.Contains(kind, "net") && r.Intn(3) == 0 {
				words += " nomatch"
			}
			runWords(t, h, append([]string{"ipset", "-exist", "add", name}, strings.Fields(words+extras)...)...)
		}
		lists = append(lists, name)
		for range 3 {
			var sides []string
			for range parts {
				sides = append(sides, []string{"src", "dst"}[r.Intn(2)])
			}
			fmt.Fprintf(&b, "-A FORWARD -m set %s--match-set %s %s\n", []string{"", "", "! "}[r.Intn(3)], name, strings.Join(sides, ","))
		}
		fmt.Fprintf(&b, "-A FORWARD -m set --match-set %s dst%s\n", name, strings.Repeat(",dst", len(parts)-1))
	}
	run(t, h, "ipset create list list:set")
	for range 3 {
		runWords(t, h, "ipset", "-exist", "add", "list", pick(lists))
	}
	b.WriteString("-A FORWARD -m set --match-set list src,dst\n-A FORWARD -m set --match-set list dst,dst,src\n")
	return "*filter\n" + b.String() + "COMMIT\n"
}

// TestMembersOfIPSetsAsTheKernelSeesThem sends packets through rules that ask sets of
// ipset, and compares the rules that each was foretold to match with those that counted it.
func TestMembersOfIPSetsAsTheKernelSeesThem(t *testing.T) {
	needs(t, "nsenter", "ip", "ipset", "iptables-nft")
	for _, w := range ipsetWorlds {
		t.Run(w.family, func(t *testing.T) {
			router := newRouter(t)
			if b, err := command(router.middle, "ipset", "create", "x", "hash:ip").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with ipset: %s", b)
			}
			run(t, router.middle, "ipset destroy x")
			for _, a := range w.sources[1:] {
				run(t, router.inside, fmt.Sprintf("ip addr add %s/%d dev eth0", a, w.full-8))
			}
			if w.family == "inet" {
				run(t, router.middle, "ip route add 198.18.0.0/15 via "+outsideAddress)
			} else {
				run(t, router.middle, "ip -6 route add fd77::/16 via "+outsideAddress6)
				eventually(t, "addresses are no longer tentative", func() bool { return !strings.Contains(run(t, router.inside, "ip -6 addr"), "tentative") })
			}
			matched := 0
			for seed := range int64(3) {
				r := rand.New(rand.NewSource(seed))
				rules := w.randomIPSets(t, router.middle, r)
				script(t, router.middle, rules, w.iptables+"-restore")
				for range 30 {
					p := [2]uint16{uint16(9000 + r.Intn(2)), uint16(7000 + r.Intn(2))}
					from, to := netip.MustParseAddr(w.sources[r.Intn(4)]), netip.MustParseAddr(w.destinations[r.Intn(5)])
					matched += w.foretold(t, router, []packet.Protocol{packet.UDP, packet.TCP}[r.Intn(2)], netip.AddrPortFrom(from, p[0]), netip.AddrPortFrom(to, p[1]))
				}
				if t.Failed() {
					t.Logf("rules\n%ssets\n%s", rules, run(t, router.middle, "ipset save"))
				}
				run(t, router.middle, w.iptables+" -F")
				// nf_tables lets go of sets a little later.
				eventually(t, "no rule holds the list", func() bool { return command(router.middle, "ipset", "destroy", "list").Run() == nil })
				eventually(t, "no rule or list holds a set", func() bool { return command(router.middle, "ipset", "destroy").Run() == nil })
			}
			if matched == 0 {
				t.Error("no packet was in any set")
			}
		})
	}
}

// foretold sends one packet and returns how many rules it was foretold to match.
func (w *ipsetWorld) foretold(t *testing.T, router *router, protocol packet.Protocol, from, to netip.AddrPort) int {
	t.Helper()
	before := rulesOf(t, router.middle)
	p := Packet{
		Tuple: packet.NewTuple(protocol, from.Addr(), to.Addr(), from.Port(), to.Port()), InLink: "docker0", OutLink: "eth0", State: StateNew, MarkKnown: true,
	}
	walk := before.Walk(Path{Forward}, p)
	if walk.Verdict != Accepted || walk.Unsure != "" {
		t.Fatalf("%v: %+v", p.Tuple, walk)
	}
	want := map[string]uint64{}
	for _, s := range walk.Steps {
		want[nameOf(*s.Rule)]++
	}
	sendFirst(t, router.inside, protocol, from, to)
	var got map[string]uint64
	for range 50 {
		if got = counted(before, rulesOf(t, router.middle)); fmt.Sprint(got) == fmt.Sprint(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v: counted %v, foretold %v", p.Tuple, got, want)
	}
	return len(want)
}

// sendFirst sends a datagram, or a connection's first segment and no more.
func sendFirst(t *testing.T, h *netns.Handle, protocol packet.Protocol, from, to netip.AddrPort) {
	t.Helper()
	address := func(a netip.AddrPort) unix.Sockaddr {
		if a.Addr().Is4() {
			return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
		}
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	domain, kind := unix.AF_INET, unix.SOCK_DGRAM
	if from.Addr().Is6() {
		domain = unix.AF_INET6
	}
	if protocol == packet.TCP {
		kind = unix.SOCK_STREAM
	}
	if err := h.Do(func() error {
		fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err := unix.Bind(fd, address(from)); err != nil {
			return err
		}
		if err := unix.Connect(fd, address(to)); err != nil && err != unix.EINPROGRESS {
			return err
		}
		if protocol == packet.UDP {
			_, err = unix.Write(fd, []byte("x"))
		}
		return err
	}); err != nil {
		t.Fatalf("%v to %v: %v", from, to, err)
	}
}

// rulesOf reads rules without holding them against themselves, which takes long.
func rulesOf(t *testing.T, h *netns.Handle) *Ruleset {
	t.Helper()
	r, err := ReadRuleset(h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
