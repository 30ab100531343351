package filter

import (
	"strings"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// dumped is a TCP packet that two files of tcpdump hold: web.pcap of docker0, and
// any.pcap of several links. Neither is natlens's own namespace.
func dumped() *trace.Journey {
	const web, any netns.ID = 1, 2
	t := &netinfo.Topology{Namespaces: []*netinfo.Namespace{
		{ID: web, Name: "web", NameFrom: "file"}, {ID: any, Name: "any", NameFrom: "file"},
	}}
	j := &trace.Journey{Topology: t.Seal(), Hops: []trace.Hop{
		seen(web, 2, "docker0", capture.In, "172.17.0.2:4711", "198.51.100.7:80"),
		seen(any, 2, "eth0", capture.Out, "192.0.2.10:4711", "198.51.100.7:80"),
	}}
	j.Protocol = j.Hops[0].Headers.Tuple.Protocol
	j.Hops[0].Namespace, j.Hops[1].Namespace = "web", "any"
	return j
}

// A link of a file of another program is FILE:LINK, or LINK in whichever file.
func TestLinksOfFiles(t *testing.T) {
	j := dumped()
	for expr, want := range map[string]bool{
		"link docker0": true, "link web:docker0": true, "link eth0": true, "link any:eth0": true,
		"link any:docker0": false, "link web:eth0": false, "link eth1": false, "link host:eth0": false,
		"link docker0 and host 172.17.0.2": true, "link docker0 and host 192.0.2.10": false,
	} {
		if got := mustParse(t, expr).Match(j); got != want {
			t.Errorf("%q: %t, want %t", expr, got, want)
		}
	}
}

// What a file does not tell is true of none of its packets, and said.
func TestUntold(t *testing.T) {
	j := dumped()
	j.Hops[0].Type = capture.UnknownType
	j.Hops[1].Headers.Layers &^= packet.LayerEthernet
	const way, frame = ": the file does not tell which way packets went", ": the file has no Ethernet headers"
	for _, c := range []struct {
		expr  string
		match bool
		said  string
	}{
		{"inbound", false, "inbound is true of no packet of web" + way},
		{"tcp and not inbound", true, "inbound is true of no packet of web" + way},
		{"outbound", true, "outbound is true of no packet of web" + way}, // any.pcap tells
		{"inbound or link docker0", true, "inbound is true of no packet of web" + way},
		{"ether src 02:00:00:00:00:02", true, "ether src host 02:00:00:00:00:02 is true of no packet of any" + frame},
		{"vlan 5", false, "vlan 5 is true of no packet of any" + frame},
		{"multicast", false, "multicast is true of no packet of any" + frame},
		{"1 + ether[0] = 2", false, "1 + ether[0] = 2 is true of no packet of any" + frame},
		{"ip multicast or len > 100 or link eth1", false, ""},
	} {
		f := mustParse(t, c.expr)
		if got := f.Match(j); got != c.match {
			t.Errorf("%q: %t, want %t", c.expr, got, c.match)
		}
		if said := strings.Join(f.Untold(j), "\n"); said != c.said {
			t.Errorf("%q: said %q, want %q", c.expr, said, c.said)
		}
		if said := f.Untold(login()); said != nil {
			t.Errorf("%q: of what was seen live: %q", c.expr, said)
		}
	}
}
