package text

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// courseFacts are the facts of courseHost: rules as Docker 20.10 lays them, and
// a web server in back that listens on loopback only.
func courseFacts() *explain.Facts {
	return &explain.Facts{
		Topology: courseHost(),
		Sockets: map[netns.ID]explain.Sockets{
			backNS:     {Listeners: []netinfo.Listener{listener("tcp", "127.0.0.1:8000"), listener("udp", "127.0.0.11:43210")}},
			databaseNS: {Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:5432"), listener("tcp", "[::]:5432")}},
			ubuntuNS:   {},
		},
		Rules:      map[netns.ID]explain.Rules{hostNS: {NAT: courseNAT, Walk: courseWalk}},
		Forwarding: "1", BridgeFilter: "1",
	}
}

func listener(protocol, address string) netinfo.Listener {
	return netinfo.Listener{Protocol: protocol, Address: netip.MustParseAddrPort(address)}
}

// courseNAT answers as the rules of courseHost would.
func courseNAT(h netfilter.Hook, p netfilter.Packet) netfilter.Match {
	rule := func(kind, chain, text string) netfilter.Match {
		return netfilter.Match{Certainty: netfilter.Covered, Kind: kind, Rule: netfilter.RuleRef{
			Backend: netfilter.IPTablesNFT, Family: "ip", Table: "nat", Chain: chain, Position: 1, Text: text,
		}}
	}
	switch {
	case h == netfilter.Postrouting && p.OutLink == "eth0" && p.InLink == "br-4c1f22aa90de":
		return rule("masquerade", "POSTROUTING", "-A POSTROUTING -s 172.24.0.0/16 ! -o br-4c1f22aa90de -j MASQUERADE")
	case h == netfilter.Postrouting && p.OutLink == "eth0" && p.InLink == "docker0":
		return rule("masquerade", "POSTROUTING", "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
	case h == netfilter.Prerouting && p.Tuple.DestinationPort == 8080:
		return rule("dnat", "DOCKER", "-A DOCKER ! -i br-4c1f22aa90de -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.24.0.2:8000")
	}
	return netfilter.Match{}
}

func find(t *testing.T, f *explain.Facts, words ...string) []explain.Target {
	t.Helper()
	var all []explain.Target
	for _, w := range words {
		found, err := explain.Find(f.Topology, w)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// flat undoes the wrapping.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestExplain(t *testing.T) {
	f := courseFacts()
	for _, c := range []struct {
		name string
		st   Style
		ask  []string
	}{
		{"explain-host", narrow, nil},
		{"explain-host-ascii", Style{ASCII: true}, nil},
		{"explain-container", narrow, []string{"back"}},
		{"explain-container-wide", wide, []string{"back"}},
		{"explain-container-40", Style{Width: 40}, []string{"back"}},
		{"explain-database", narrow, []string{"database"}},
		{"explain-host-mode", narrow, []string{"monitor"}},
		{"explain-none-mode", narrow, []string{"lonely"}},
		{"explain-veth-link", narrow, []string{"vethab12cd0"}},
		{"explain-inner-link", narrow, []string{"back:eth0"}},
		{"explain-bridge", narrow, []string{"docker0"}},
		{"explain-uplink", narrow, []string{"eth0"}},
		{"explain-loopback", narrow, []string{"lo"}},
		{"explain-network", narrow, []string{"back_net"}},
		{"explain-network-internal", narrow, []string{"vault"}},
		{"explain-veth", narrow, []string{"veth"}},
		{"explain-nat", narrow, []string{"nat"}},
	} {
		got := c.st.Explain(f, find(t, f, c.ask...)...)
		// Commands stay whole where a word of theirs is wider than the screen.
		golden(t, c.name, c.st, got)
	}
}

func TestExplainWithoutAnything(t *testing.T) {
	bare := &explain.Facts{Topology: (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{{ID: 1, Name: "host"}}}).Seal()}
	for _, topic := range []string{"veth", "nat"} {
		got := narrow.Explain(bare, explain.Target{Topic: topic})
		if !strings.Contains(flat(got), "the example is made up") {
			t.Errorf("%s: a made-up example does not say so:\n%s", topic, got)
		}
		golden(t, "explain-"+topic+"-made-up", narrow, got)
	}
	golden(t, "explain-host-empty", narrow, narrow.Explain(bare))
}

// TestExplainListeners goes through what may wait behind a published port.
func TestExplainListeners(t *testing.T) {
	for _, c := range []struct {
		name    string
		sockets explain.Sockets
		want    string
		wants   bool // a warning
	}{
		{"every address", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:8000")}}, "Behind it 0.0.0.0:8000 listens: it answers.", false},
		{"IPv6 socket", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "[::]:8000")}}, "unless the program asked for IPv6 only", false},
		{"loopback", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "127.0.0.1:8000")}}, "make the program listen on 0.0.0.0", true},
		{"loopback twice", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "127.0.0.1:8000"), listener("tcp", "[::1]:8000")}},
			"127.0.0.1:8000 and [::1]:8000 listen", true},
		{"other address", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "172.99.0.2:8000")}}, "connections come for 172.24.0.2:8000", true},
		{"other port", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:3000")}}, "publish that port: -p 8080:3000", true},
		{"other ports", explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:3000"), listener("tcp", "0.0.0.0:3001")}},
			"0.0.0.0:3000 and 0.0.0.0:3001 listen there. To reach one, publish its port: such as -p 8080:3000", true},
		{"wrong protocol", explain.Sockets{Listeners: []netinfo.Listener{listener("udp", "0.0.0.0:8000")}}, "nothing listens on port 8000/tcp", true},
		{"nothing", explain.Sockets{}, "docker logs back", true},
		{"not readable", explain.Sockets{Err: errors.New("operation not permitted")}, "could not be read (operation not permitted)", false},
	} {
		f := courseFacts()
		f.Sockets[backNS] = c.sockets
		got := flat(narrow.Explain(f, find(t, f, "back")...))
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %q is not in\n%s", c.name, c.want, got)
		}
		if warned := strings.Contains(got, "✗"); warned != c.wants {
			t.Errorf("%s: warned %v, want %v", c.name, warned, c.wants)
		}
	}
}

// What explain says to type publishes no more than is published, and what is behind no
// other port.
func TestPublish(t *testing.T) {
	port := func(protocol, at string, inside uint16) docker.Port {
		return docker.Port{Protocol: protocol, HostAddress: netip.MustParseAddrPort(at), ContainerPort: inside}
	}
	for _, c := range []struct {
		port docker.Port
		want string
	}{
		{port("tcp", "0.0.0.0:8080", 80), "-p 8080:3000"},
		{port("tcp", "127.0.0.1:8080", 80), "-p 127.0.0.1:8080:3000"},
		{port("tcp", "[::1]:8080", 80), "-p [::1]:8080:3000"},
		{port("udp", "[::]:53", 53), "-p 53:3000/udp"},
	} {
		if got := (publishedPort{Port: c.port}).publish(listener(c.port.Protocol, "0.0.0.0:3000")); got != c.want {
			t.Errorf("%+v: %s, want %s", c.port, got, c.want)
		}
	}
	f := courseFacts()
	back := f.Topology.FindContainer("back")[0]
	back.Ports = append(back.Ports, port("tcp", "0.0.0.0:9000", 3000))
	f.Sockets[backNS] = explain.Sockets{Listeners: []netinfo.Listener{listener("tcp", "0.0.0.0:3000")}}
	if got := flat(narrow.Explain(f, find(t, f, "back")...)); strings.Contains(got, "publish that port") {
		t.Errorf("what is published should be published:\n%s", got)
	}
}

// TestExplainHolders goes through who may hold a published port on the host.
func TestExplainHolders(t *testing.T) {
	for holder, want := range map[string]string{
		"":                "docker-proxy as a rule. It takes what NAT does not",
		"docker-proxy":    "On the host docker-proxy listens on that port, too. It takes what NAT does not",
		"dockerd":         "answers nobody there: it runs without docker-proxy",
		"root\x1b[0mless": "The host has a socket on that port, too. root",
	} {
		f := courseFacts()
		l := listener("tcp", "0.0.0.0:8080")
		l.Inode = 77
		f.Sockets[f.Topology.Self] = explain.Sockets{Listeners: []netinfo.Listener{l}}
		f.Holders = map[uint64]string{l.Inode: holder}
		got := flat(narrow.Explain(f, find(t, f, "back")...))
		if !strings.Contains(got, want) || strings.Contains(got, "\x1b") {
			t.Errorf("%q: %q is not in\n%s", holder, want, got)
		}
	}
}

func TestExplainUnknownIsSaid(t *testing.T) {
	f := courseFacts()
	f.Rules, f.Sockets = nil, nil
	back := f.Topology.Namespace(backNS)
	back.LinkByName("eth0").Peer.Key = netinfo.LinkKey{Index: 7}
	got := flat(narrow.Explain(f, find(t, f, "back")...))
	for _, want := range []string{"the other end is unknown", "What listens behind it is not known: its namespace could not be entered."} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestExplainForwardingOff(t *testing.T) {
	f := courseFacts()
	f.Forwarding = "0"
	if got := narrow.Explain(f, find(t, f, "back")...); !strings.Contains(got, "net.ipv4.ip_forward is 0") {
		t.Errorf("forwarding is off and nothing says so:\n%s", got)
	}
}

func TestExplainContainerElsewhere(t *testing.T) {
	f := courseFacts()
	c := f.Topology.Containers[0]
	c.Namespace, c.Proof = 0, ""
	f.Topology.Engine.Elsewhere = "remote engine; run natlens there"
	if got := narrow.Explain(f, explain.Target{Container: c}); !strings.Contains(flat(got), "remote engine; run natlens there") {
		t.Errorf("where the container is is not said:\n%s", got)
	}
}

func TestExplainEscapes(t *testing.T) {
	const evil = "\x1b]0;owned\a\u202e'; rm -rf x"
	f := courseFacts()
	for _, n := range f.Topology.Namespaces {
		n.Name = evil
		for _, l := range n.Links {
			l.Name, l.Network = evil, evil
		}
	}
	for _, c := range f.Topology.Containers {
		c.Name, c.Image, c.Proof, c.Mode, c.ID = evil, evil, evil, evil, evil
	}
	for _, n := range f.Topology.Networks {
		n.Name, n.Bridge, n.ID = evil, evil, evil
	}
	targets := []explain.Target{{Topic: "veth"}, {Topic: "nat"}, {Namespace: f.Topology.Namespaces[0]}}
	for _, c := range f.Topology.Containers {
		targets = append(targets, explain.Target{Container: c})
	}
	for _, n := range f.Topology.Networks {
		targets = append(targets, explain.Target{Network: n})
	}
	for _, n := range f.Topology.Namespaces {
		for _, l := range n.Links {
			targets = append(targets, explain.Target{Link: l})
		}
	}
	for _, target := range targets {
		got := narrow.Explain(f, target)
		if i := strings.IndexAny(got, "\x1b\a\u202e"); i >= 0 {
			t.Errorf("an escape sequence came through: %q", got[max(0, i-40):i+20])
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(strings.TrimSpace(line), "$ ") && strings.Contains(line, "rm -rf") && !strings.Contains(line, `'\''`) {
				t.Errorf("a name is not one word of the command: %s", line)
			}
		}
	}
}

func TestGroupPorts(t *testing.T) {
	got := groupPorts([]docker.Port{
		{Protocol: "tcp", ContainerPort: 80},
		{Protocol: "tcp", ContainerPort: 80, HostAddress: netip.MustParseAddrPort("127.0.0.1:8080")},
		{Protocol: "tcp", ContainerPort: 80, HostAddress: netip.MustParseAddrPort("192.0.2.10:8081")},
		{Protocol: "udp", ContainerPort: 80},
	})
	if len(got) != 2 || len(got[0].at) != 2 || len(got[1].at) != 0 {
		t.Errorf("got %+v", got)
	}
}
