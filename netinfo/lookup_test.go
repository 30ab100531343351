package netinfo

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

func TestOwnerOf(t *testing.T) {
	f := dockerHost()
	// A part of the host that no link connects with the rest has the same
	// address as web, and the internet's address.
	f.namespaces = append(f.namespaces, &namespaceFacts{
		id: otherNS, command: "vm",
		links: []linkFacts{vethFacts(2, "a", 3, -1, "", "172.17.0.2/16"), vethFacts(3, "b", 2, -1, "", "192.0.2.1/24")},
	})
	top := assemble(f, time.Time{})
	for _, test := range []struct {
		address string
		from    netns.ID
		name    string
	}{
		{"172.17.0.2", hostNS, "web"},
		{"172.17.0.2", dbNS, "web"},
		{"172.17.0.2", webNS, "web"},
		{"172.17.0.2", otherNS, "vm"},
		{"172.17.0.1", webNS, "host"},
		{"192.0.2.1", webNS, "inet"},
		{"127.0.0.1", dbNS, "db"},
		{"::1", hostNS, "host"},
		{"127.0.0.1", 1, ""},
		{"198.51.100.7", hostNS, ""},
	} {
		name, n := top.OwnerOf(netip.MustParseAddr(test.address), test.from)
		if name != test.name || (n == nil) != (name == "") {
			t.Errorf("%s seen from %v belongs to %q, want %q", test.address, test.from, name, test.name)
		}
	}
	// Two on the same network with one address: nobody can say which.
	f.namespaces[2].links[1].Addresses = []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}
	top = assemble(f, time.Time{})
	if name, _ := top.OwnerOf(netip.MustParseAddr("172.17.0.2"), hostNS); name != "" {
		t.Errorf("an ambiguous address belongs to %q", name)
	}
	if name, _ := top.OwnerOf(netip.MustParseAddr("172.17.0.2"), dbNS); name != "db" {
		t.Errorf("one's own address belongs to %q, want db", name)
	}
}

func TestOwnerOfUnprovenContainer(t *testing.T) {
	f := dockerHost()
	f.namespaces = f.namespaces[:1]
	f.blind = true
	top := assemble(f, time.Time{})
	if name, n := top.OwnerOf(netip.MustParseAddr("172.17.0.2"), hostNS); name != "web" || n != nil {
		t.Errorf("172.17.0.2 belongs to %q in %v, want web in none", name, n)
	}
	// The address of a container on another machine says nothing here.
	f.inventory.Engine = docker.Engine{Host: "ssh://example"}
	top = assemble(f, time.Time{})
	if name, _ := top.OwnerOf(netip.MustParseAddr("172.17.0.2"), hostNS); name != "" {
		t.Errorf("172.17.0.2 belongs to %q of a remote engine", name)
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	top := assemble(dockerHost(), time.Time{})
	address := netip.MustParseAddr("172.17.0.2")
	n := testing.AllocsPerRun(100, func() {
		name, n := top.OwnerOf(address, hostNS)
		if name != "web" || len(n.ContainerNames()) != 1 || top.PeerNamespace(LinkKey{hostNS, 11}) != n {
			t.Fatal("wrong owner")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOwnerOf(b *testing.B) {
	top := assemble(dockerHost(), time.Time{})
	address := netip.MustParseAddr("172.17.0.2")
	for b.Loop() {
		top.OwnerOf(address, hostNS)
	}
}

func TestFindContainer(t *testing.T) {
	f := dockerHost()
	f.inventory.Containers[0].Name = "aa" // and the other's id begins so
	top := assemble(f, time.Time{})
	names := func(what string) (s []string) {
		for _, c := range top.FindContainer(what) {
			s = append(s, c.Name)
		}
		return s
	}
	for what, want := range map[string][]string{
		"web": {"web"}, "aaa": {"web"}, "aa": {"aa"}, id64("b"): {"aa"}, "we": nil, "": nil,
	} {
		if got := names(what); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, want %v", what, got, want)
		}
	}
}

func TestNilTopologyKnowsNothing(t *testing.T) {
	var top *Topology
	name, n := top.OwnerOf(netip.MustParseAddr("127.0.0.1"), 1)
	if name != "" || n != nil || top.Link(LinkKey{}) != nil || top.PeerNamespace(LinkKey{}) != nil ||
		top.FindContainer("x") != nil || top.Ports(LinkKey{}) != nil || top.NamespaceName(5) != "net:[5]" {
		t.Error("a nil topology knows something")
	}
}
