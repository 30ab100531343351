package netinfo

import (
	"net/netip"
	"testing"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// TestBridgeByName: of several hosts with a docker0 natlens's own counts, whatever
// their order; without one of its own, none of them.
func TestBridgeByName(t *testing.T) {
	host := func(id netns.ID, name string) *Namespace {
		return &Namespace{ID: id, Name: name, Links: []*Link{{
			Key: LinkKey{id, 3}, Name: "docker0", Kind: "bridge", Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/16")},
		}}}
	}
	bridge := &Network{Network: docker.Network{
		Name: "bridge", Driver: "bridge", Bridge: "docker0", Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16")}},
	}}
	for _, c := range []struct {
		name  string
		hosts []*Namespace
		want  netns.ID // 0: none
	}{
		{"own first", []*Namespace{host(1, "host"), host(2, "a"), host(3, "b")}, 1},
		{"own last", []*Namespace{host(2, "a"), host(3, "b"), host(1, "host")}, 1},
		{"one elsewhere", []*Namespace{host(2, "a")}, 2},
		{"two elsewhere", []*Namespace{host(2, "a"), host(3, "b")}, 0},
		{"nowhere", nil, 0},
	} {
		got := bridgeByName((&Topology{Self: 1, Namespaces: c.hosts}).Seal(), bridge)
		if (got == nil) != (c.want == 0) || got != nil && got.Key.Namespace != c.want {
			t.Errorf("%s: %+v, want one of namespace %d", c.name, got, c.want)
		}
	}
}
