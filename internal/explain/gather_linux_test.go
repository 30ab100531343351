package explain

import (
	"context"
	"net"
	"os"
	"testing"

	"natlens/netinfo"
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
