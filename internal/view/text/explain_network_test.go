package text

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// courseWalk drops between bridges as Docker 20.10's rules do, and what leaves
// the internal network vault.
func courseWalk(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
	w := netfilter.Walk{Verdict: netfilter.Accepted, Hook: path[len(path)-1], Packet: p}
	bridge := func(name string) bool { return name == "docker0" || strings.HasPrefix(name, "br-") }
	drop := func(position int, chain, text string) netfilter.Walk {
		rule := netfilter.Rule{RuleRef: netfilter.RuleRef{
			Backend: netfilter.IPTablesNFT, Family: "ip", Table: "filter", Chain: chain, Position: position, Text: text,
		}}
		return netfilter.Walk{Verdict: netfilter.Dropped, Hook: netfilter.Forward, Decisive: &rule}
	}
	switch {
	case !slices.Contains(path, netfilter.Forward) || p.Bridged:
	case p.InLink == vaultBridge && p.OutLink != vaultBridge:
		return drop(1, "DOCKER-ISOLATION-STAGE-1", "-A DOCKER-ISOLATION-STAGE-1 ! -d 172.25.0.0/16 -i "+vaultBridge+" -j DROP")
	case p.OutLink == vaultBridge && p.InLink != vaultBridge:
		return drop(2, "DOCKER-ISOLATION-STAGE-1", "-A DOCKER-ISOLATION-STAGE-1 ! -s 172.25.0.0/16 -o "+vaultBridge+" -j DROP")
	case p.InLink != p.OutLink && bridge(p.InLink) && bridge(p.OutLink):
		return drop(1, "DOCKER-ISOLATION-STAGE-2", "-A DOCKER-ISOLATION-STAGE-2 -o "+p.OutLink+" -j DROP")
	case p.InLink == quietBridge && p.OutLink == quietBridge:
		return drop(4, "FORWARD", "-A FORWARD -i "+quietBridge+" -o "+quietBridge+" -j DROP")
	}
	return w
}

const (
	vaultBridge = "br-77aa01bc22dd"
	quietBridge = "br-5510c0ffee00"
)

// manyNetworks is courseFacts with a network of each kind: vault has its bridge,
// quiet forbids its containers to talk, lan and routed are stacked on eth0.
func manyNetworks() *explain.Facts {
	f := courseFacts()
	t := f.Topology
	self := t.Namespace(hostNS)
	addBridge := func(n *netinfo.Network, index int32, name, address string) {
		l := &netinfo.Link{
			Key: netinfo.LinkKey{Namespace: hostNS, Index: index}, Name: name, Kind: "bridge", Role: netinfo.RoleBridge,
			State: "up", Up: true, Addresses: addresses(address), Network: n.Name,
		}
		self.Links = append(self.Links, l)
		n.Bridge, n.BridgeLink = name, &l.Key
	}
	for _, n := range t.Networks {
		if n.Name == "vault" {
			addBridge(n, 20, vaultBridge, "172.25.0.1/16")
		}
	}
	quiet := &netinfo.Network{Network: docker.Network{
		ID: networkID("quiet"), Name: "quiet", Driver: "bridge", Masquerade: false, ICC: false,
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.26.0.0/16"), Gateway: netip.MustParseAddr("172.26.0.1")}},
	}}
	addBridge(quiet, 21, quietBridge, "172.26.0.1/16")
	for i, name := range []string{"hush", "mute"} {
		c := &netinfo.Container{Container: docker.Container{ID: networkID(name), Name: name, Mode: "quiet"}, Namespace: netns.ID(9000 + i)}
		quiet.Members = append(quiet.Members, netinfo.Member{Container: c, Addresses: addresses([]string{"172.26.0.2/16", "172.26.0.3/16"}[i])})
	}
	lan := &netinfo.Network{Network: docker.Network{
		ID: networkID("lan"), Name: "lan", Driver: "macvlan", Parent: "eth0",
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Gateway: netip.MustParseAddr("192.0.2.1")}},
	}}
	routed := &netinfo.Network{Network: docker.Network{
		ID: networkID("routed"), Name: "routed", Driver: "ipvlan", Parent: "eth0", Options: map[string]string{"ipvlan_mode": "l3"},
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("10.9.0.0/24")}},
	}}
	t.Networks = append(t.Networks, quiet, lan, routed)
	t.Seal()
	return f
}

func TestExplainNetwork(t *testing.T) {
	for _, name := range []string{"back_net", "bridge", "vault", "quiet", "lan", "routed", "host", "none"} {
		f := manyNetworks()
		var target explain.Target
		for _, n := range f.Topology.Networks {
			if n.Name == name {
				target.Network = n
			}
		}
		golden(t, "explain-network-of-"+name, narrow, narrow.Explain(f, target))
	}
}

// TestExplainInternalIsTrueToTheRoutes: whether containers of an internal network have a
// default route depends on the engine's version.
func TestExplainInternalIsTrueToTheRoutes(t *testing.T) {
	join := func(f *explain.Facts, gateway bool) {
		for _, n := range f.Topology.Networks {
			if n.Name != "vault" {
				continue
			}
			back := f.Topology.FindContainer("back")[0]
			link := netinfo.LinkKey{Namespace: back.Namespace, Index: 40}
			n.Members = append(n.Members, netinfo.Member{Container: back, Addresses: addresses("172.25.0.2/16"), Link: &link})
			inside := f.Topology.Namespace(back.Namespace)
			// That by its other network is none of this one.
			inside.Routes = []netinfo.Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Link: 6, Metric: 1}}
			if gateway {
				inside.Routes = append(inside.Routes, netinfo.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Link: link.Index})
			}
		}
	}
	for _, c := range []struct {
		change func(*explain.Facts)
		want   string
	}{
		{func(*explain.Facts) {}, "the network is internal. What its containers send to the outside is dropped by this rule:"},
		{func(f *explain.Facts) { join(f, false) }, "Its containers have no default route by it, and what they would send to the outside all the same is dropped by this rule:"},
		{func(f *explain.Facts) { join(f, true) }, "Its containers have a default route to the host, but what they send outside by it is dropped by this rule:"},
	} {
		f := manyNetworks()
		c.change(f)
		var target explain.Target
		for _, n := range f.Topology.Networks {
			if n.Name == "vault" {
				target.Network = n
			}
		}
		if got := strings.Join(strings.Fields(Style{}.Explain(f, target)), " "); !strings.Contains(got, c.want) {
			t.Errorf("%s\nlacks %q", got, c.want)
		}
	}
}

// TestExplainNetworkIsTrueToTheRules: whatever the engine's options say, the rules
// decide.
func TestExplainNetworkIsTrueToTheRules(t *testing.T) {
	accept := func(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
		return netfilter.Walk{Verdict: netfilter.Accepted, Hook: path[len(path)-1], Packet: p}
	}
	for _, c := range []struct {
		name   string
		change func(*explain.Facts)
		want   string
		not    string
	}{
		{"rules that forbid nothing", func(f *explain.Facts) { f.Rules[hostNS] = explain.Rules{NAT: courseNAT, Walk: accept} },
			"bridge: reached. The host passes packets on from back_net to bridge, and no rule forbids it.", "isolated"},
		{"no rules read", func(f *explain.Facts) { f.Rules = nil }, "the rules were not read; root may read them", "isolated"},
		{"forwarding off", func(f *explain.Facts) { f.Forwarding = "0" }, "Nothing gets out: what its containers send to the outside is not passed on", "replaces the source"},
		{"a policy", func(f *explain.Facts) {
			f.Rules[hostNS] = explain.Rules{Walk: func(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
				if slices.Contains(path, netfilter.Forward) && !p.Bridged {
					return netfilter.Walk{Verdict: netfilter.Dropped, Hook: netfilter.Forward, Policy: &netfilter.ChainRef{
						Backend: netfilter.IPTablesNFT, Family: "ip", Table: "filter", Name: "FORWARD"}}
				}
				return accept(path, p)
			}}
		}, "dropped by the policy of the chain FORWARD (filter)", "replaces the source"},
		{"a published port is let through", func(f *explain.Facts) {
			f.Rules[hostNS] = explain.Rules{Walk: func(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
				if p.Tuple.Protocol == packet.TCP && p.TCPFlags == packet.SYN && p.Tuple.Destination().String() == "172.24.0.2" && p.Tuple.DestinationPort == 8000 {
					return accept(path, p)
				}
				return courseWalk(path, p)
			}}
		}, "Except what is published: 172.24.0.2:8000/tcp (back) is let through", "5432"},
		{"no bridge netfilter", func(f *explain.Facts) { f.BridgeFilter = "0" }, "No rule of IP sees what it switches", "let it pass"},
	} {
		f := courseFacts()
		c.change(f)
		got := flat(narrow.Explain(f, find(t, f, "back_net")...))
		if !strings.Contains(got, c.want) || strings.Contains(got, c.not) {
			t.Errorf("%s: want %q and not %q in\n%s", c.name, c.want, c.not, got)
		}
	}
}
