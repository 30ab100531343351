package netfilter

import (
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// randomRules makes rules of iptables, of which some match some of the packets
// that the test sends: UDP from the inside to a port of the outside.
func randomRules(r *rand.Rand) string {
	pick := func(words ...string) string { return words[r.Intn(len(words))] }
	match := func(hook string) string {
		var s string
		if hook == "OUT" {
			s += pick("", "", "", "! ") + pick("-o eth0", "-o eth+", "-o docker0") + " "
		} else if r.Intn(2) == 0 {
			s += pick("", "", "", "! ") + pick("-i docker0", "-i dock+", "-i eth0") + " "
		}
		s += pick("", "", "-s 10.9.0.0/24 ", "! -s 10.9.0.2/32 ", "-s 10.0.0.0/9 ", "-d 192.0.2.1/32 ", "! -d 192.0.2.0/28 ", "-d 10.0.0.0/255.0.255.0 ")
		return s + pick("", "-p udp ", "-p tcp ", "! -p tcp ", fmt.Sprintf("-p udp -m udp --dport %d ", 7000+r.Intn(4)), fmt.Sprintf("-p udp -m udp --sport 9000:%d ", 9000+r.Intn(4)),
			fmt.Sprintf("-p udp -m udp ! --dport 7000:%d ", 7000+r.Intn(4)), fmt.Sprintf("-p udp -m multiport --ports 7001,%d:9010 ", 9000+r.Intn(4)),
			"-m mark --mark 0x1/0x3 ", "-m mark ! --mark 0x2 ", "-m conntrack --ctstate NEW ", "-m conntrack --ctstate DNAT ", "-m conntrack ! --ctstatus SEEN_REPLY,ASSURED ", "-m conntrack ! --ctstate DNAT ", "-m conntrack --ctstate RELATED,ESTABLISHED ", "-m conntrack ! --ctstate INVALID,NEW ",
			"-m addrtype --dst-type LOCAL ", "-m addrtype ! --src-type LOCAL ", "-p icmp -m icmp --icmp-type 8 ")
	}
	target := func(more ...string) string {
		return pick(append(more, "-j RETURN", "-j ONE", "-j TWO", "-g TWO", "-j ONE", "-j TWO", "")...)
	}
	chains := func(rules *strings.Builder, hook string, names []string, more ...string) {
		for _, name := range names {
			for range 2 + r.Intn(4) {
				t := target(more...)
				switch name { // chains must not lead in circles
				case "TWO":
					t = pick(append(more, "-j RETURN", "")...)
				case "ONE":
					t = strings.ReplaceAll(t, "ONE", "TWO")
				}
				fmt.Fprintf(rules, "-A %s %s%s\n", name, match(hook), t)
			}
		}
	}
	var b strings.Builder
	b.WriteString("*raw\n:ONE - [0:0]\n:TWO - [0:0]\n")
	chains(&b, "IN", []string{"PREROUTING", "ONE", "TWO"}, "-j DROP", "-j ACCEPT", "-j CT --notrack")
	b.WriteString("COMMIT\n*mangle\n:ONE - [0:0]\n:TWO - [0:0]\n")
	chains(&b, "IN", []string{"PREROUTING", "ONE", "TWO"}, "-j MARK --set-xmark 0x1/0xffffffff", "-j MARK --set-xmark 0x2/0x2", "-j ACCEPT")
	fmt.Fprintf(&b, "COMMIT\n*filter\n:FORWARD %s [0:0]\n:ONE - [0:0]\n:TWO - [0:0]\n", pick("ACCEPT", "ACCEPT", "DROP"))
	chains(&b, "OUT", []string{"FORWARD", "ONE", "TWO"}, "-j DROP", "-j ACCEPT", "-j ACCEPT", "-j REJECT")
	b.WriteString("COMMIT\n*nat\n:ONE - [0:0]\n:TWO - [0:0]\n")
	chains(&b, "OUT", []string{"POSTROUTING", "ONE", "TWO"}, "-j MASQUERADE", "-j ACCEPT", "-j SNAT --to-source 192.0.2.10")
	b.WriteString("COMMIT\n")
	return b.String()
}

// counted returns the rules whose counters differ, and by how much.
func counted(before, after *Ruleset) map[string]uint64 {
	moved := map[string]uint64{}
	for _, rule := range after.Rules() {
		was, _ := before.Find(rule.RuleRef)
		if n := rule.Counter.Packets - was.Counter.Packets; n > 0 {
			moved[nameOf(rule.RuleRef)] = n
		}
	}
	return moved
}

func nameOf(r RuleRef) string {
	return fmt.Sprintf("%s %s %s %d", r.Backend, r.Table, r.Chain, r.Position)
}

// TestWalkIsWhatTheKernelDoes sends packets through random rules and compares the
// rules that each was foretold to match with those that counted it.
func TestWalkIsWhatTheKernelDoes(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy", "conntrack")
	for _, backend := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(backend, func(t *testing.T) {
			world := newRouter(t)
			if b, err := command(world.middle, backend, "-t", "raw", "-L", "-n").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with %s: %s", backend, b)
			}
			// Whoever answers would be counted, too.
			run(t, world.outside, "iptables-nft -A INPUT -p udp -j DROP")
			verdicts := map[Verdict]int{}
			for seed := range int64(4) {
				rules := randomRules(rand.New(rand.NewSource(seed)))
				script(t, world.middle, rules, backend+"-restore")
				for i := range uint16(3) {
					verdicts[foretold(t, world.middle, world.inside, rules, 9000+i%3, 7000+i)]++
				}
			}
			if verdicts[Accepted] == 0 || verdicts[Dropped] == 0 || verdicts[""] > 0 {
				t.Errorf("verdicts %v: some of each are wanted, and none that is not sure", verdicts)
			}
		})
	}
}

// foretold sends one datagram from a port to a port of the outside.
func foretold(t *testing.T, middle, inside *netns.Handle, rules string, from, to uint16) Verdict {
	t.Helper()
	_ = command(middle, "conntrack", "-F").Run()
	before := readRules(t, middle)
	p := Packet{
		Tuple: tuple(packet.UDP, insideAddress, outsideAddress, from, to), InLink: "docker0", State: StateNew, MarkKnown: true,
		LocalAddress: func(a netip.Addr) bool {
			return slices.Contains([]string{"10.9.0.1", uplinkAddress}, a.String()) || a.IsLoopback()
		},
	}
	w := before.Walk(Path{Prerouting}, p)
	steps := w.Steps
	if w.Verdict == Accepted {
		next := w.Packet
		next.OutLink = "eth0"
		w = before.Walk(Path{Forward, Postrouting}, next)
		steps = append(steps, w.Steps...)
	}
	if w.Verdict == "" {
		t.Errorf("port %d: not sure: %s; rules\n%s", to, w.Unsure, rules)
		return ""
	}
	want := map[string]uint64{}
	for _, s := range steps {
		if s.Rule != nil {
			want[nameOf(*s.Rule)]++
		}
	}
	sendDatagram(t, inside, netip.AddrPortFrom(netip.MustParseAddr(insideAddress), from), netip.AddrPortFrom(netip.MustParseAddr(outsideAddress), to))
	// Within a host, a datagram has passed all hooks when sending returns, but
	// for a processor that is busy with others.
	var got map[string]uint64
	for range 20 {
		if got = counted(before, readRules(t, middle)); fmt.Sprint(got) == fmt.Sprint(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("port %d to %d, %s: counted %v, foretold %v; rules\n%s", from, to, w.Verdict, got, want, rules)
	}
	return w.Verdict
}

func sendDatagram(t *testing.T, h *netns.Handle, from, to netip.AddrPort) {
	t.Helper()
	err := h.Do(func() error {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write([]byte("x"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
