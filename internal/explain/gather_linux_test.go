package explain

import (
	"context"
	"net"
	"os"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// TestGather looks at the host it runs on.
func TestGather(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	topology, err := netinfo.Scan(context.Background(), netinfo.Options{NoEngine: true})
	if err != nil {
		t.Fatal(err)
	}
	f := Gather(topology)
	found := false
	for _, s := range f.Sockets[topology.Self].Listeners {
		found = found || s.Address.String() == l.Addr().String()
	}
	if !found {
		t.Errorf("%v is not among the sockets of this namespace", l.Addr())
	}
	rules, asked := f.Rules[topology.Self]
	if !asked {
		t.Fatal("the rules of this namespace were not asked for")
	}
	if os.Geteuid() == 0 && rules.Err != nil || rules.Err == nil && rules.NAT == nil {
		t.Errorf("rules: %+v", rules)
	}
	if f.Forwarding != "0" && f.Forwarding != "1" {
		t.Errorf("forwarding %q", f.Forwarding)
	}
}

// A table of iptables-legacy that was read is no gap in what is known.
func TestAnyHidden(t *testing.T) {
	read, hidden := netfilter.LegacyTable{Family: "ip", Name: "nat"}, netfilter.LegacyTable{Family: "ip", Name: "filter", Unreadable: "no such device"}
	if anyHidden(nil) || anyHidden([]netfilter.LegacyTable{read}) || !anyHidden([]netfilter.LegacyTable{read, hidden}) {
		t.Error("hidden tables are taken for read ones, or the other way round")
	}
}
