package probe

import (
	"errors"
	"strings"
	"testing"

	"natlens/internal/explain"
	"natlens/netinfo"
	"natlens/netinfo/docker"
)

func TestFindSource(t *testing.T) {
	host := fixture()
	for _, c := range []struct{ word, namespace, container, link string }{
		{"back", "back", "back", ""},
		{"host", "host", "", ""},
		{"veth-back", "host", "", "veth-back"},
		{"back:eth0", "back", "back", "eth0"},
	} {
		s, err := FindSource(host, c.word)
		if err != nil {
			t.Errorf("%s: %v", c.word, err)
			continue
		}
		container, link := "", ""
		if s.Container != nil {
			container = s.Container.Name
		}
		if s.Link != nil {
			link = s.Link.Name
		}
		if s.Namespace.Name != c.namespace || container != c.container || link != c.link {
			t.Errorf("%s: %s %q %q, want %+v", c.word, s.Namespace.Name, container, link, c)
		}
	}
	var unknown *explain.UnknownTarget
	if _, err := FindSource(host, "bakc"); !errors.As(err, &unknown) {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := FindSource(host, "veth"); err == nil || !strings.Contains(err.Error(), "FROM is") {
		t.Errorf("a topic: %v", err)
	}
}

func TestFindDestination(t *testing.T) {
	host := fixture()
	shared := host.FindContainer("ubuntu")[0]
	for _, c := range []struct {
		from, word, address, network string
		asked, resolves              bool
	}{
		{"back", "database", "172.24.0.3", "back_net", true, true},
		{"ubuntu", "database", "172.24.0.3", "back_net", true, false},
		{"host", "database", "172.24.0.3", "back_net", true, false},
		{"back", "198.51.100.7", "198.51.100.7", "", false, false},
		{"back", "::ffff:198.51.100.7", "198.51.100.7", "", false, false},
		{"back", "host", "172.24.0.1", "", false, false},
		{"host", "host", "127.0.0.1", "", false, false},
	} {
		s, err := FindSource(host, c.from)
		if err != nil {
			t.Fatal(err)
		}
		d, known, err := FindDestination(host, s, c.word)
		if err != nil || !known || d.Address.String() != c.address || d.Network != c.network ||
			d.Lookup.Asked != c.asked || d.Lookup.Resolves != c.resolves {
			t.Errorf("%s to %s: %+v, %v, %v; want %+v", c.from, c.word, d, known, err, c)
		}
	}
	from, err := FindSource(host, "ubuntu")
	if err != nil {
		t.Fatal(err)
	}
	if _, known, err := FindDestination(host, from, "server.example"); known || err != nil {
		t.Errorf("a name: known %v, %v", known, err)
	}
	// With a network in common that one's address is asked for.
	to := host.FindContainer("database")[0]
	to.Endpoints = append(to.Endpoints, docker.Endpoint{Network: shared.Endpoints[0].Network, Addresses: shared.Endpoints[0].Addresses[:1:1]})
	d, _, err := FindDestination(host, from, "database")
	if err != nil || d.Network != "bridge" || len(d.Others) != 1 || d.Lookup.Resolves || !strings.Contains(d.Lookup.How, "default network") {
		t.Errorf("on the default network: %+v, %v", d, err)
	}
	to.Endpoints = nil
	host.Namespace(databaseNS).Links = nil
	var none *NoAddress
	if _, _, err := FindDestination(host, from, "database"); !errors.As(err, &none) || none.Reason != "it has no address: it is on no network" {
		t.Errorf("without an address: %v", err)
	}
}

// share adds a container in the namespace of another one, as the first there.
func share(t *netinfo.Topology, owner, name string) {
	of := t.FindContainer(owner)[0]
	of.ID = "id of " + owner
	sidecar := &netinfo.Container{Namespace: of.Namespace}
	sidecar.Name, sidecar.Mode = name, "container:"+of.ID
	t.Containers = append(t.Containers, sidecar)
	n := t.Namespace(of.Namespace)
	n.Containers = append([]*netinfo.Container{sidecar}, n.Containers...)
}

// A container in the namespace of another one resolves what that one does, and is
// connected by connecting that one.
func TestFindSourceThatShares(t *testing.T) {
	host := fixture()
	share(host, "back", "sidecar")
	s, err := FindSource(host, "sidecar")
	if err != nil || s.Name != "sidecar" || s.Container == nil || s.Container.Name != "back" {
		t.Fatalf("%+v, %v; want the networks of back", s, err)
	}
	if d, _, err := FindDestination(host, s, "database"); err != nil || !d.Lookup.Resolves {
		t.Errorf("to its neighbour: %+v, %v", d.Lookup, err)
	}
	if s, err := FindSource(host, "back:eth0"); err == nil && s.Container.Name != "back" {
		t.Errorf("by its link: %s", s.Container.Name)
	}
}

// Why a name is not resolved depends on where it is asked.
func TestWhoCanNotResolve(t *testing.T) {
	for _, c := range []struct {
		from, to, mode string // of from's container, or of to's
		how            string
	}{
		{"ubuntu", "back", "bridge", "no network has both"},
		{"ubuntu", "back", "none", "it is on no network"},
		{"host", "back", "bridge", "outside of containers"},
		{"hostish", "back", "host", "on the host's own network"},
		{"docker0", "back", "host", "outside of containers"},
		{"ubuntu", "sidecar", "bridge", "names only containers on its networks"},
		{"ubuntu", "hostish", "bridge", "names only containers on its networks"},
	} {
		topology := fixture()
		hostish := &netinfo.Container{Namespace: hostNS}
		hostish.Name, hostish.Mode = "hostish", "host"
		topology.Containers = append(topology.Containers, hostish)
		topology.Namespace(hostNS).Containers = []*netinfo.Container{hostish}
		share(topology, "back", "sidecar")
		topology.FindContainer("ubuntu")[0].Mode = c.mode
		s, err := FindSource(topology, c.from)
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := FindDestination(topology, s, c.to)
		if err != nil || d.Lookup.Resolves || !strings.Contains(d.Lookup.How, c.how) {
			t.Errorf("%s (%s) to %s: %+v, %v; want %s", c.from, c.mode, c.to, d.Lookup, err, c.how)
		}
	}
}
