package probe

import (
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo"
)

// What is to pass a link that is down comes no further, whichever end of the wire it is.
func TestPredictLinkState(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*netinfo.Topology)
		reason string
	}{
		{"all up", func(*netinfo.Topology) {}, ""},
		{"its own", func(t *netinfo.Topology) { t.Namespace(databaseNS).LinkByName("eth0").Up = false }, "database:eth0 is down"},
		{"its port", func(t *netinfo.Topology) {
			t.Namespace(hostNS).LinkByName("veth-database").Up = false
			t.Namespace(databaseNS).LinkByName("eth0").State = "lowerlayerdown"
		}, "veth-database is down"},
		{"the bridge", func(t *netinfo.Topology) { t.Namespace(hostNS).LinkByName("br-back").Up = false }, "br-back is down"},
		{"the other port", func(t *netinfo.Topology) { t.Namespace(hostNS).LinkByName("veth-back").Up = false }, "veth-back is down"},
		{"the other end", func(t *netinfo.Topology) { t.Namespace(backNS).LinkByName("eth0").Up = false }, "back:eth0 is down"},
		{"no carrier", func(t *netinfo.Topology) { t.Namespace(databaseNS).LinkByName("eth0").State = "lowerlayerdown" }, "database:eth0 has no carrier"},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := fixture()
			c.change(topology)
			from, err := FindSource(topology, "database")
			if err != nil {
				t.Fatal(err)
			}
			e := withoutRules(topology).predict(from, Destination{Address: addr("172.24.0.2")}, Request{Protocol: packet.ICMP})
			want := map[bool]Result{true: Reached, false: NoWay}[c.reason == ""]
			if e.Result != want || e.Reason != c.reason || e.Down != (c.reason != "") || e.Unsure != "" {
				t.Errorf("%s: %q, down %v, unsure %q; want %s: %q", e.Result, e.Reason, e.Down, e.Unsure, want, c.reason)
			}
		})
	}
}
