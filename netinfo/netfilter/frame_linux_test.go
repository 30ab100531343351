package netfilter

import (
	"fmt"
	"math/rand"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// bridged is two namespaces at the ports of a bridge in a third. Nobody asks for
// MAC addresses there, and nothing but the test's packets is on the way.
type bridged struct {
	middle, front, back *netns.Handle
	mac                 map[string][6]byte // by link: front, back, br0
}

const frontAddress, backAddress, bridgeAddress = "10.9.0.2", "10.9.0.3", "10.9.0.1"

func newBridged(t *testing.T) *bridged {
	t.Helper()
	w := &bridged{middle: newNamespace(t), front: newNamespace(t), back: newNamespace(t), mac: map[string][6]byte{}}
	for _, h := range []*netns.Handle{w.middle, w.front, w.back} {
		runWords(t, h, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
	}
	run(t, w.middle, "ip link add br0 address 02:00:00:00:00:99 type bridge mcast_snooping 0")
	runWords(t, w.middle, "sh", "-c", "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables || true")
	for name, h := range map[string]*netns.Handle{"front": w.front, "back": w.back} {
		run(t, w.middle, "ip link add v"+name+" type veth peer name eth0 netns "+pathFor(h))
		run(t, w.middle, "ip link set v"+name+" master br0 up")
	}
	run(t, w.middle, "ip address add "+bridgeAddress+"/24 dev br0")
	run(t, w.middle, "ip link set br0 up")
	w.setUp(t, w.front, "front", frontAddress)
	w.setUp(t, w.back, "back", backAddress)
	w.mac["br0"] = macOf(t, w.middle, "br0")
	run(t, w.front, "ip neigh replace "+backAddress+" lladdr "+net.HardwareAddr(slice(w.mac["back"])).String()+" dev eth0 nud permanent")
	run(t, w.front, "ip neigh replace "+bridgeAddress+" lladdr "+net.HardwareAddr(slice(w.mac["br0"])).String()+" dev eth0 nud permanent")
	run(t, w.middle, "bridge fdb replace "+net.HardwareAddr(slice(w.mac["back"])).String()+" dev vback master static")
	// Whoever answers would be counted, too.
	run(t, w.back, "iptables-nft -A INPUT -p udp -j DROP")
	run(t, w.middle, "iptables-nft -A INPUT -p udp -j DROP")
	return w
}

func slice(m [6]byte) []byte { return m[:] }

func (w *bridged) setUp(t *testing.T, h *netns.Handle, name, address string) {
	t.Helper()
	run(t, h, "ip address add "+address+"/24 dev eth0")
	run(t, h, "ip link set eth0 up")
	w.mac[name] = macOf(t, h, "eth0")
}

func macOf(t *testing.T, h *netns.Handle, link string) (mac [6]byte) {
	t.Helper()
	if err := h.Do(func() error {
		l, err := net.InterfaceByName(link)
		if err == nil {
			copy(mac[:], l.HardwareAddr)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mac
}

// randomFrameRules makes rules for every hook that a frame may pass.
func (w *bridged) randomFrameRules(r *rand.Rand) string {
	pick := func(words ...string) string { return words[r.Intn(len(words))] }
	mac := func() string {
		return net.HardwareAddr(slice(w.mac[pick("front", "back", "br0")])).String()
	}
	condition := func() string {
		port := 7000 + r.Intn(4)
		return pick("", "ether saddr "+mac(), "ether saddr != "+mac(), "ether daddr "+mac(), "ether daddr { "+mac()+" }", "ether type ip", "ether type { arp, ip6 }",
			"ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00", "meta protocol ip", "meta protocol != ip", "meta protocol ip6", "vlan id 5", "arp operation request", "arp saddr ip 10.9.0.2",
			"ip saddr 10.9.0.0/24", "ip saddr != 10.9.0.2", "ip daddr 10.9.0.3", "ip daddr { 10.9.0.1, 10.9.0.3 }", "ip protocol udp", "ip6 saddr fd00::1", fmt.Sprint("udp dport ", port), fmt.Sprint("udp dport != ", port),
			fmt.Sprintf("udp dport 7000-%d", port), fmt.Sprint("tcp dport ", port), "meta l4proto udp", "iifname vfront", "iifname vback", "iifname v*", "iifname != br0", "oifname vback", "oifname vfront", "meta pkttype host", "meta pkttype broadcast",
			"meta mark 0x1", "ether saddr . ip saddr { "+mac()+" . 10.9.0.2 }")
	}
	action := func(more ...string) string {
		return pick(append(more, "", "", "drop", "accept", "jump other", "return", "meta mark set 0x1", "ether type vmap { arp : drop, ip : jump other }",
			"udp dport vmap { 7000 : drop, 7001 : accept, 7002 : jump other, 7003 : continue }", "ether daddr set 02:00:00:00:00:77 ether daddr set "+mac())...)
	}
	rules := func(b *strings.Builder, n int, jumps, frames bool) {
		for range n {
			act, c := action(), condition()
			if r.Intn(3) == 0 {
				c += " " + condition()
			}
			// nft asks for the kind of the link by which a packet came before it
			// asks for MAC addresses; where it leaves, kernels differ in that.
			if !frames && (strings.Contains(c+act, "ether") || strings.Contains(c, "vlan")) {
				act, c = "", "udp dport 7000"
			}
			if !jumps {
				act = strings.ReplaceAll(act, "jump other", "return")
			}
			fmt.Fprintf(b, "\t\t%s counter %s\n", c, act)
		}
	}
	var b strings.Builder
	b.WriteString("table bridge b {\n\tchain other {\n")
	rules(&b, 2, false, true)
	b.WriteString("\t}\n")
	for _, hook := range []string{"prerouting", "forward", "input", "postrouting"} {
		fmt.Fprintf(&b, "\tchain %s { type filter hook %[1]s priority %d; policy %s;\n", hook, -200+r.Intn(3), pick("accept", "accept", "accept", "drop"))
		rules(&b, 1+r.Intn(3), true, true)
		b.WriteString("\t}\n")
	}
	b.WriteString("}\ntable netdev n {\n\tchain other {\n")
	rules(&b, 2, false, false)
	b.WriteString("\t}\n")
	for _, hook := range []string{"ingress device vfront", "ingress device br0", "egress device vback"} {
		fmt.Fprintf(&b, "\tchain %s { type filter hook %s priority 0;\n", strings.ReplaceAll(hook, " ", "_"), hook)
		rules(&b, 1+r.Intn(2), true, !strings.Contains(hook, "egress"))
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// TestWalkOfFramesIsWhatTheKernelDoes sends packets over a bridge with random rules, and
// compares the rules that each was foretold to match with those that counted it.
func TestWalkOfFramesIsWhatTheKernelDoes(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "bridge", "iptables-nft")
	w := newBridged(t)
	verdicts, r := map[Verdict]int{}, rand.New(rand.NewSource(1))
	for range 40 {
		rules := w.randomFrameRules(r)
		c := command(w.middle, "nft", "-f", "-")
		c.Stdin = strings.NewReader("table bridge b\ndelete table bridge b\ntable netdev n\ndelete table netdev n\n" + rules)
		if b, err := c.CombinedOutput(); err != nil {
			if strings.Contains(string(b), "conflicting") {
				continue // nft says that two conditions contradict each other
			}
			t.Fatalf("%s\n%s", b, rules)
		}
		for _, to := range []string{backAddress, bridgeAddress} {
			verdicts[w.foretold(t, rules, to, uint16(7000+r.Intn(4)))]++
		}
	}
	t.Log(verdicts)
	if verdicts[Accepted] == 0 || verdicts[Dropped] == 0 || verdicts[""] > 0 {
		t.Errorf("verdicts %v: some of each are wanted, and none that is not sure", verdicts)
	}
}

// frameStage is one part of a frame's way.
type frameStage struct {
	path    Path
	bridged bool
	in, out string
}

// foretold sends one datagram from the front.
func (w *bridged) foretold(t *testing.T, rules, to string, port uint16) Verdict {
	t.Helper()
	before := readRules(t, w.middle)
	p := Packet{Tuple: tuple(packet.UDP, frontAddress, to, 9000, port), MarkKnown: true, State: StateNew, Bridge: "br0",
		Frame: Frame{Known: true, Source: w.mac["front"], Destination: w.mac["back"], Type: 3}}
	stages := []frameStage{
		{Path{Ingress}, false, "vfront", ""}, {Path{Prerouting}, true, "vfront", ""},
		{Path{Forward, Postrouting}, true, "vfront", "vback"}, {Path{Egress}, true, "vfront", "vback"},
	}
	if to == bridgeAddress {
		p.Frame.Destination = w.mac["br0"]
		stages = []frameStage{{Path{Ingress}, false, "vfront", ""}, {Path{Prerouting}, true, "vfront", ""}, {Path{Input}, true, "vfront", ""}, {Path{Ingress}, false, "br0", ""}}
	}
	want, verdict := map[string]uint64{}, Verdict("")
	for i, s := range stages {
		p.Bridged, p.InLink, p.OutLink = s.bridged, s.in, s.out
		if i == 1 && p.Frame.Destination == w.mac["br0"] || i == 3 && to == bridgeAddress {
			p.Frame.Type = 0
		}
		sum := before.Walk(s.path, p)
		if sum.Verdict == "" {
			t.Errorf("port %d to %s at %v: not sure: %s; rules\n%s", port, to, s.path, sum.Unsure, rules)
			return ""
		}
		for _, s := range sum.Steps {
			if s.Rule != nil {
				want[s.Rule.Family+nameOf(*s.Rule)]++
			}
		}
		verdict = sum.Verdict
		if sum.Packet.Frame.Destination != p.Frame.Destination && verdict == Accepted {
			return verdict // sent to somebody else now
		}
		if p = sum.Packet; verdict != Accepted {
			break
		}
	}
	sendDatagram(t, w.front, netip.AddrPortFrom(netip.MustParseAddr(frontAddress), 9000), netip.AddrPortFrom(netip.MustParseAddr(to), port))
	var got map[string]uint64
	for range 20 {
		got = map[string]uint64{}
		for _, rule := range readRules(t, w.middle).Rules() {
			was, _ := before.Find(rule.RuleRef)
			if n := rule.Counter.Packets - was.Counter.Packets; n > 0 && (rule.Family == "bridge" || rule.Family == "netdev") {
				got[rule.Family+nameOf(rule.RuleRef)] = n
			}
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("port %d to %s, %s: counted %v, foretold %v; rules\n%s", port, to, verdict, got, want, rules)
	}
	return verdict
}
