package netfilter

import (
	"net/netip"
	"strings"
	"testing"

	"natlens/capture/packet"
)

// docker28Rules are laid out as Docker 28 and 29 do with iptables, for docker0, a
// network bridge1 with a published port and an internal one, internal0; facts
// from Moby's integration/network/bridge/iptablesdoc.
const docker28Rules = `*raw
-A PREROUTING -d 192.0.2.2/32 ! -i bridge1 -j DROP
-A PREROUTING -d 127.0.0.1/32 ! -i lo -p tcp -m tcp --dport 8081 -j DROP
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-INTERNAL - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -p tcp -m tcp --dport 23 -j REJECT --reject-with tcp-reset
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 192.0.2.2/32 ! -i bridge1 -o bridge1 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i bridge1 -o bridge1 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o bridge1 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o bridge1 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i bridge1 -j ACCEPT
-A DOCKER-INTERNAL ! -s 198.18.0.0/24 -o internal0 -j DROP
-A DOCKER-INTERNAL ! -d 198.18.0.0/24 -i internal0 -j DROP
-A DOCKER-USER -s 192.0.2.9/32 -m limit --limit 3/sec -j ACCEPT
-A DOCKER-USER -s 192.0.2.8/32 -m limit --limit 3/sec -j DROP
-A DOCKER-USER -d 203.0.113.66/32 -j DROP
-A DOCKER-USER -p tcp -m conntrack --ctorigdst 203.0.113.1/32 --ctorigdstport 8090 --ctdir ORIGINAL -j DROP
-A DOCKER-USER -s 203.0.113.0/24 -p tcp -m conntrack ! --ctorigsrc 203.0.113.7/32 --ctdir REPLY -j DROP
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 192.0.2.0/24 ! -o bridge1 -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i bridge1 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.0.2.2:80
-A DOCKER ! -i bridge1 -p tcp -m tcp --dport 8090 -j DNAT --to-destination 192.0.2.2:80
COMMIT
`

// walkCase is a packet and what becomes of it: the verdict, and the rule's chain
// and position, a chain and "policy", or "unsure".
type walkCase struct {
	name   string
	path   Path
	packet Packet
	answer string
}

func (c walkCase) check(t *testing.T, r *Ruleset) Walk {
	t.Helper()
	c.packet.LocalAddress = func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.1") || a.IsLoopback() }
	c.packet.MarkKnown = true
	w := r.Walk(c.path, c.packet)
	got := string(w.Verdict)
	switch {
	case w.Verdict == "":
		got = "unsure: " + w.Unsure
	case w.Decisive != nil:
		got += " " + w.Decisive.Chain + " " + itoa(uint64(w.Decisive.Position))
	case w.Policy != nil:
		got += " " + w.Policy.Name + " policy"
	}
	for _, n := range []*NATRule{w.Destination, w.Source} {
		if n != nil {
			got += ", " + n.Kind + " " + n.Rule.Chain + " " + itoa(uint64(n.Rule.Position))
		}
	}
	if got != c.answer {
		t.Errorf("%s: %s; want %s; steps %+v", c.name, got, c.answer, w.Steps)
	}
	return w
}

func packetOf(t packet.Tuple, in, out string) Packet {
	return Packet{Tuple: t, InLink: in, OutLink: out, State: StateNew, TCPFlags: 2, TCPFlagsKnown: true}
}

func TestWalkOfDocker28(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "iptables-legacy")
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			h := newNamespace(t)
			if b, err := command(h, "iptables-"+backend, "-t", "raw", "-L", "-n").CombinedOutput(); err != nil {
				t.Skipf("needs a kernel with iptables-%s: %s", backend, b)
			}
			script(t, h, docker28Rules, "iptables-"+backend+"-restore")
			r := readRules(t, h)
			established := packetOf(tuple(packet.TCP, "192.0.2.2", "172.17.0.2", 80, 4000), "bridge1", "docker0")
			established.State, established.DestinationTranslated, established.SourceTranslated = StateEstablished, False, False
			established.Direction = DirectionReply
			switched := packetOf(tuple(packet.TCP, "192.0.2.3", "192.0.2.4", 4000, 80), "veth1", "veth2")
			switched.Bridged = true
			limited := tuple(packet.TCP, "192.0.2.9", "172.17.0.2", 4000, 80)
			for _, c := range []walkCase{
				{"out", ThroughHost, packetOf(tuple(packet.TCP, "172.17.0.2", "203.0.113.7", 4000, 80), "docker0", "eth0"), "accept, masquerade POSTROUTING 2"},
				{"out, link not known", ThroughHost, packetOf(tuple(packet.TCP, "172.17.0.2", "203.0.113.7", 4000, 80), "docker0", ""),
					"unsure: the link by which it leaves is not known"},
				{"isolated", ThroughHost, packetOf(tuple(packet.TCP, "172.17.0.2", "192.0.2.3", 4000, 80), "docker0", "bridge1"), "drop DOCKER 3"},
				{"answer", ThroughHost, established, "accept"},
				{"direct access", ThroughHost, packetOf(tuple(packet.TCP, "203.0.113.7", "192.0.2.2", 4000, 80), "eth0", "bridge1"), "drop PREROUTING 1"},
				{"published", ThroughHost, packetOf(tuple(packet.TCP, "203.0.113.7", "203.0.113.1", 4000, 8080), "eth0", "bridge1"), "accept, dnat DOCKER 1"},
				{"published, but dropped by the port that was asked for", ThroughHost, packetOf(tuple(packet.TCP, "203.0.113.7", "203.0.113.1", 4000, 8090), "eth0", "bridge1"), "drop DOCKER-USER 4, dnat DOCKER 2"},
				{"not published", ThroughHost, packetOf(tuple(packet.UDP, "203.0.113.7", "192.0.2.3", 4000, 8080), "eth0", "bridge1"), "drop DOCKER 3"},
				{"same bridge", ThroughHost, packetOf(tuple(packet.TCP, "192.0.2.3", "192.0.2.4", 4000, 80), "bridge1", "bridge1"), "accept"},
				{"same bridge, as its ports see it", ThroughHost, switched, "accept"},
				{"user's rule", ThroughHost, packetOf(tuple(packet.TCP, "172.17.0.2", "203.0.113.66", 4000, 80), "docker0", "eth0"), "drop DOCKER-USER 3"},
				{"internal", ThroughHost, packetOf(tuple(packet.TCP, "198.18.0.2", "203.0.113.7", 4000, 80), "internal0", "eth0"), "drop DOCKER-INTERNAL 2"},
				{"policy", ThroughHost, packetOf(tuple(packet.TCP, "203.0.113.7", "203.0.113.9", 4000, 80), "eth0", "eth1"), "drop FORWARD policy"},
				{"to the host", ToHost, packetOf(tuple(packet.TCP, "203.0.113.7", "203.0.113.1", 4000, 22), "eth0", ""), "accept"},
				{"rejected", ToHost, packetOf(tuple(packet.TCP, "203.0.113.7", "203.0.113.1", 4000, 23), "eth0", ""), "reject INPUT 1"},
				{"from the host", FromHost, packetOf(tuple(packet.TCP, "203.0.113.1", "203.0.113.1", 4000, 8080), "", "lo"), "accept, dnat DOCKER 1"},
				{"limit decides", ThroughHost, packetOf(limited, "bridge1", "docker0"), "unsure: how much of a rate limit is left is not known"},
				{"limit or not", ThroughHost, packetOf(tuple(packet.TCP, "192.0.2.8", "172.17.0.2", 4000, 80), "bridge1", "docker0"), "drop"},
			} {
				w := c.check(t, r)
				if c.name == "published" && w.Packet.Tuple != tuple(packet.TCP, "203.0.113.7", "192.0.2.2", 4000, 80) {
					t.Errorf("published: the packet became %v", w.Packet.Tuple)
				}
				if w.Decisive != nil && !strings.HasPrefix(w.Decisive.Text, "-A "+w.Decisive.Chain) {
					t.Errorf("%s: text %q", c.name, w.Decisive.Text)
				}
			}
		})
	}
}
