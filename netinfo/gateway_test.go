package netinfo

import (
	"net/netip"
	"testing"

	"natlens/netinfo/docker"
)

func TestGateway(t *testing.T) {
	bridge := LinkKey{Namespace: 1, Index: 3}
	top := (&Topology{Self: 1, Namespaces: []*Namespace{{ID: 1, Links: []*Link{{Key: bridge, Kind: "bridge", Addresses: []netip.Prefix{
		netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("172.17.0.9/16"), netip.MustParsePrefix("fd00::9/64"),
	}}}}}}).Seal()
	named := netip.MustParseAddr("172.17.0.1")
	for _, c := range []struct {
		what    string
		network Network
		subnet  docker.Subnet
		want    string
	}{
		{"named", Network{BridgeLink: &bridge}, docker.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Gateway: named}, "172.17.0.1"},
		{"the bridge's", Network{BridgeLink: &bridge}, docker.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16")}, "172.17.0.9"},
		{"the bridge's IPv6", Network{BridgeLink: &bridge}, docker.Subnet{Prefix: netip.MustParsePrefix("fd00::/64")}, "fd00::9"},
		{"another subnet", Network{BridgeLink: &bridge}, docker.Subnet{Prefix: netip.MustParsePrefix("172.18.0.0/16")}, "invalid IP"},
		{"no bridge", Network{}, docker.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16")}, "invalid IP"},
		{"a bridge that went", Network{BridgeLink: &LinkKey{Namespace: 1, Index: 4}}, docker.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16")}, "invalid IP"},
	} {
		if got := top.Gateway(&c.network, c.subnet).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	internal := Network{BridgeLink: &bridge}
	internal.Internal = true
	if got := top.Gateway(&internal, docker.Subnet{Prefix: netip.MustParsePrefix("172.17.0.0/16")}); got.IsValid() {
		t.Errorf("an internal network has the gateway %v", got)
	}
}
