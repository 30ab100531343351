package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
)

// These are the oracles of the course: what Docker, ip and iptables themselves
// say. Nothing here is natlens's own code.

// inspected is what docker inspect says of a container.
type inspected struct {
	ID    string `json:"Id"`
	State struct{ Pid int }
	Host  struct{ NetworkMode string } `json:"HostConfig"`
	Net   struct {
		SandboxKey string
		Networks   map[string]struct{ IPAddress, Gateway, MacAddress string }
	} `json:"NetworkSettings"`
}

func inspect(t *testing.T, e *engine.Engine, container string) inspected {
	t.Helper()
	var all []inspected
	decode(t, []byte(e.Docker("inspect", container)), &all)
	return all[0]
}

// ipOf is a container's address on a network.
func ipOf(t *testing.T, e *engine.Engine, container, network string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(inspect(t, e, container).Net.Networks[network].IPAddress)
	if err != nil {
		t.Fatalf("%s on %s: %v", container, network, err)
	}
	return a
}

// ipLink is a link as ip -j -d addr prints it.
type ipLink struct {
	Ifindex   int
	Ifname    string
	LinkIndex int `json:"link_index"`
	Master    string
	Address   string
	MTU       int
	AddrInfo  []struct {
		Local     string
		Prefixlen int
		Scope     string
	} `json:"addr_info"`
	Linkinfo struct {
		Kind string `json:"info_kind"`
	}
}

// ipLinks asks ip in the namespace where command runs things.
func ipLinks(t *testing.T, command func(string, ...string) *exec.Cmd) map[string]ipLink {
	t.Helper()
	out, err := command("ip", "-j", "-d", "addr").Output()
	if err != nil {
		t.Fatalf("ip: %v", err)
	}
	var all []ipLink
	decode(t, out, &all)
	links := map[string]ipLink{}
	for _, l := range all {
		links[l.Ifname] = l
	}
	return links
}

func inContainer(e *engine.Engine, container string) func(string, ...string) *exec.Cmd {
	return func(name string, args ...string) *exec.Cmd { return e.CommandIn(container, name, args...) }
}

// vethOf finds the host's end of a container's link: each end holds the other's
// index, and the host's end leads to the container's process.
func vethOf(t *testing.T, e *engine.Engine, container, link string) string {
	t.Helper()
	inner, ok := ipLinks(t, inContainer(e, container))[link]
	if !ok {
		t.Fatalf("%s has no %s", container, link)
	}
	for name, l := range ipLinks(t, e.Command) {
		if l.Ifindex == inner.LinkIndex && l.LinkIndex == inner.Ifindex {
			return name
		}
	}
	t.Fatalf("no link of the host is the other end of %s:%s", container, link)
	return ""
}

// bridgeOf is the Linux bridge of a network: Docker's own name for it, as long
// as nobody gave it another.
func bridgeOf(e *engine.Engine, network string) string {
	if network == "bridge" {
		return "docker0"
	}
	return "br-" + e.Docker("network", "inspect", "-f", "{{.Id}}", network)[:12]
}

// natRules are the rules of the nat table as iptables-save prints them, with
// their position in their chain.
type natRules map[string]int

func iptablesSave(t *testing.T, command func(string, ...string) *exec.Cmd) natRules {
	t.Helper()
	out, err := command("iptables-save", "-t", "nat").Output()
	if err != nil {
		t.Fatalf("iptables-save: %v", err)
	}
	rules, chains := natRules{}, map[string]int{}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "-A" {
			chains[words[1]]++
			rules[strings.TrimSpace(line)] = chains[words[1]]
		}
	}
	return rules
}

// one returns the only rule that begins and ends like this, in the chain that rules
// for an address lead to, if one is given.
func (r natRules) one(t *testing.T, begin, end string, source ...string) string {
	t.Helper()
	for _, a := range source {
		begin = r.chainFor(t, netip.MustParseAddr(a))
	}
	var found []string
	for rule := range r {
		if strings.HasPrefix(rule, begin) && strings.HasSuffix(rule, end) {
			found = append(found, rule)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rules of iptables-save are %q … %q: %q", len(found), begin, end, found)
	}
	return found[0]
}

// chainFor returns "-A CHAIN " for the chain to which a rule of POSTROUTING sends
// what comes from an address.
func (r natRules) chainFor(t *testing.T, a netip.Addr) string {
	t.Helper()
	for rule := range r {
		words := strings.Fields(rule)
		if len(words) != 6 || words[1] != "POSTROUTING" || words[2] != "-s" || words[4] != "-j" {
			continue
		}
		if p, err := netip.ParsePrefix(words[3]); err == nil && p.Contains(a) {
			return "-A " + words[5] + " "
		}
	}
	t.Fatalf("no rule of POSTROUTING leads %v to a chain", a)
	return ""
}

// listing is the part of natlens list --json that the course looks at, written
// down anew.
type listing struct {
	Engine *struct {
		Version       string
		UserlandProxy string `json:"userland_proxy"`
		Unasked       bool
	}
	Namespaces []struct {
		Name       string
		Inode      uint64
		Containers []string
	}
	Links      []listedLink
	Containers []listedContainer
	Networks   []listedNetwork
}

type listedNetwork struct {
	Name, ID, Driver, Bridge, Gateway string
	Subnets, Containers               []string
}

type listedLink struct {
	Name, Namespace, Kind, Role, MAC, State, Master, Network string
	NamespaceInode                                           uint64 `json:"namespace_inode"`
	Index, MTU                                               int
	Addresses, Containers                                    []string
	Peer                                                     *struct {
		Namespace, Name string
		Index           int
		Containers      []string
	}
}

type listedContainer struct {
	ID, Name, Image, Namespace, Mode string
	NamespaceInode                   uint64 `json:"namespace_inode"`
	PID                              int
	Networks                         []attachedNetwork
	Ports                            []struct {
		Protocol      string
		ContainerPort int     `json:"container_port"`
		HostIP        string  `json:"host_ip"`
		HostPort      *uint16 `json:"host_port"`
	}
}

type attachedNetwork struct {
	Name, MAC           string
	Addresses, Gateways []string
}

func (l *listing) link(t *testing.T, namespace, name string) listedLink {
	t.Helper()
	for _, x := range l.Links {
		if x.Namespace == namespace && x.Name == name {
			return x
		}
	}
	t.Fatalf("list has no link %s:%s", namespace, name)
	return listedLink{}
}

func (l *listing) container(t *testing.T, name string) listedContainer {
	t.Helper()
	for _, c := range l.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("list has no container %s", name)
	return listedContainer{}
}

// same compares what natlens said with what an oracle said.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: natlens says %v, it is %v", what, got, want)
	}
}

// sameJSON does so for values that can't be compared.
func sameJSON(t *testing.T, what string, got, want any) {
	t.Helper()
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	same(t, what, text(got), text(want))
}

// says holds a text against what it must say, and against what it must not.
// Where lines end is not looked at.
func says(t *testing.T, what, text string, phrases ...string) {
	t.Helper()
	flat := strings.Join(strings.Fields(text), " ")
	for _, p := range phrases {
		if want, not := strings.CutPrefix(p, "NOT "); not == strings.Contains(flat, strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%s: want %q in\n%s", what, p, text)
		}
	}
}

// checkCable compares what list says of a container's link, and of the link at
// its other end, with what ip says.
func checkCable(t *testing.T, e *engine.Engine, l *listing, container, link, network string) {
	t.Helper()
	host, inside := ipLinks(t, e.Command), ipLinks(t, inContainer(e, container))
	veth := vethOf(t, e, container, link)
	bridge := bridgeOf(e, network)
	outer, inner := l.link(t, "host", veth), l.link(t, container, link)
	same(t, "role of "+veth, outer.Role, "veth")
	same(t, "index of "+veth, outer.Index, host[veth].Ifindex)
	same(t, "MAC of "+veth, outer.MAC, host[veth].Address)
	same(t, "master of "+veth, outer.Master, host[veth].Master)
	same(t, "master of "+veth, outer.Master, bridge)
	same(t, "network of "+veth, outer.Network, network)
	same(t, "index of "+container+":"+link, inner.Index, inside[link].Ifindex)
	same(t, "MAC of "+container+":"+link, inner.MAC, inside[link].Address)
	same(t, "MTU of "+container+":"+link, inner.MTU, inside[link].MTU)
	same(t, "network of "+container+":"+link, inner.Network, network)
	sameJSON(t, "addresses of "+container+":"+link, inner.Addresses, addresses(inside[link]))
	sameJSON(t, "containers of "+container+":"+link, inner.Containers, []string{container})
	if outer.Peer == nil || inner.Peer == nil {
		t.Fatalf("list gives no peer: %+v, %+v", outer, inner)
	}
	same(t, "peer of "+veth, outer.Peer.Namespace+":"+outer.Peer.Name, container+":"+link)
	same(t, "peer's index", outer.Peer.Index, inside[link].Ifindex)
	sameJSON(t, "peer's containers", outer.Peer.Containers, []string{container})
	same(t, "peer of "+container+":"+link, inner.Peer.Namespace+":"+inner.Peer.Name, "host:"+veth)
	same(t, "peer's index", inner.Peer.Index, host[veth].Ifindex)
	b := l.link(t, "host", bridge)
	same(t, "role of "+bridge, b.Role, "bridge")
	same(t, "network of "+bridge, b.Network, network)
	sameJSON(t, "addresses of "+bridge, b.Addresses, addresses(host[bridge]))
}

func addresses(l ipLink) []string {
	all := []string{}
	for _, a := range l.AddrInfo {
		all = append(all, fmt.Sprintf("%s/%d", a.Local, a.Prefixlen))
	}
	return all
}

// checkContainer compares what list says of a container with what Docker says.
func checkContainer(t *testing.T, e *engine.Engine, l *listing, name string) listedContainer {
	t.Helper()
	c, want := l.container(t, name), inspect(t, e, name)
	same(t, "id of "+name, c.ID, want.ID)
	same(t, "pid of "+name, c.PID, want.State.Pid)
	same(t, "mode of "+name, strings.Replace(c.Mode, "bridge", "default", 1), strings.Replace(want.Host.NetworkMode, "bridge", "default", 1))
	same(t, "namespace of "+name, c.NamespaceInode, uint64(e.Namespace(name).ID()))
	same(t, "networks of "+name, len(c.Networks), len(want.Net.Networks))
	for _, n := range c.Networks {
		w, ok := want.Net.Networks[n.Name]
		if !ok {
			t.Errorf("%s is not on %s", name, n.Name)
			continue
		}
		same(t, "MAC of "+name+" on "+n.Name, n.MAC, w.MacAddress)
		if w.IPAddress != "" && (len(n.Addresses) != 1 || !strings.HasPrefix(n.Addresses[0], w.IPAddress+"/")) {
			t.Errorf("addresses of %s on %s: %v, Docker says %s", name, n.Name, n.Addresses, w.IPAddress)
		}
		if w.Gateway != "" {
			sameJSON(t, "gateways of "+name+" on "+n.Name, n.Gateways, []string{w.Gateway})
		}
	}
	return c
}
