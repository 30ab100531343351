package flows

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

const (
	host netns.ID = 1
	back netns.ID = 2
)

// topology is a host with a container, whose name may not be known yet.
func topology(name string) *netinfo.Topology {
	address := netip.MustParsePrefix
	var containers []*netinfo.Container
	if name == "back" {
		containers = append(containers, &netinfo.Container{Namespace: back})
		containers[0].Name = name
	}
	return (&netinfo.Topology{
		Self: host, Containers: containers,
		Namespaces: []*netinfo.Namespace{
			{
				ID: host, Name: "host", NameFrom: "self",
				Links: []*netinfo.Link{
					{Key: netinfo.LinkKey{Namespace: host, Index: 2}, Name: "eth0", Addresses: []netip.Prefix{address("192.0.2.10/24")}},
					{Key: netinfo.LinkKey{Namespace: host, Index: 3}, Name: "docker0", Addresses: []netip.Prefix{address("172.17.0.1/16")}},
					{
						Key: netinfo.LinkKey{Namespace: host, Index: 5}, Name: "veth0", Kind: "veth", Master: &netinfo.LinkKey{Namespace: host, Index: 3},
						Peer: &netinfo.Peer{Key: netinfo.LinkKey{Namespace: back, Index: 4}, Mutual: true},
					},
				},
				Routes: []netinfo.Route{
					{Destination: address("0.0.0.0/0"), Link: 2},
					{Destination: address("172.17.0.0/16"), Link: 3},
					{Destination: address("0.0.0.0/0"), Link: 3, Metric: 100},
				},
			},
			{ID: back, Name: name, Containers: containers, Links: []*netinfo.Link{{
				Key: netinfo.LinkKey{Namespace: back, Index: 4}, Name: "eth0", Kind: "veth", Addresses: []netip.Prefix{address("172.17.0.2/16")},
				Peer: &netinfo.Peer{Key: netinfo.LinkKey{Namespace: host, Index: 5}, Mutual: true},
			}}},
		},
		Proxies: []netinfo.Proxy{{
			PID: 7, Namespace: host, Protocol: "tcp", Listen: netip.MustParseAddrPort("0.0.0.0:8000"), Backend: netip.MustParseAddrPort("172.17.0.2:80"),
		}},
	}).Seal()
}

func tcp(from, to string) packet.Tuple {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	return packet.NewTuple(packet.TCP, a.Addr(), b.Addr(), a.Port(), b.Port())
}

func event(kind netfilter.EventKind, at int64, original, reply packet.Tuple) netfilter.Event {
	return netfilter.Event{Kind: kind, After: at - 1, Before: at, Flow: netfilter.Flow{Namespace: host, ID: 9, Original: original, Reply: reply, TCPState: "ESTABLISHED"}}
}

func TestAFlowsLife(t *testing.T) {
	table := NewTable()
	table.SetTopology(topology("docker-8730473d94ad"))
	original, reply := tcp("172.17.0.2:5000", "198.51.100.7:80"), tcp("198.51.100.7:80", "192.0.2.10:5000")
	tell := func(b netfilter.Batch) []Change {
		b.Namespace = host
		return table.AddFlows(&b)
	}
	one := func(kind netfilter.EventKind, at int64) netfilter.Batch {
		return netfilter.Batch{Events: []netfilter.Event{event(kind, at, original, reply)}, Through: at}
	}
	for _, step := range []struct {
		batch netfilter.Batch
		want  []netfilter.EventKind
	}{
		{one(netfilter.Known, 100), []netfilter.EventKind{netfilter.Known}},
		{one(netfilter.Known, 200), nil},
		{one(netfilter.Update, 300), []netfilter.EventKind{netfilter.Update}},
		{netfilter.Batch{Synced: true, SyncedSince: 250, Through: 350}, nil},
		{netfilter.Batch{Synced: true, SyncedSince: 350, Through: 400}, []netfilter.EventKind{netfilter.Destroy}},
		{one(netfilter.New, 500), []netfilter.EventKind{netfilter.New}},
		{one(netfilter.Destroy, 500+3e9), []netfilter.EventKind{netfilter.Destroy}},
	} {
		changes := tell(step.batch)
		if len(changes) != len(step.want) || len(changes) > 0 && changes[0].Kind != step.want[0] {
			t.Fatalf("%+v gave %+v", step.batch, changes)
		}
		if len(changes) == 0 {
			continue
		}
		e := changes[0].Entry
		age, exact := e.Age(1e18)
		switch {
		case e.Ended == 400 && (age != 300 || exact):
			t.Errorf("the first lived %v, exactly %v", age, exact)
		case e.Ended > 400 && (age != 3*time.Second || !exact):
			t.Errorf("the second lived %v, exactly %v", age, exact)
		}
	}
	if n := len(table.Entries()); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	tell(one(netfilter.New, 600))
	table.SetTopology(topology("back"))
	e := table.Entries()[0]
	if e.Journey.From.Name != "back" || len(e.Journey.From.Containers) != 1 || e.Journey.To.Name != "" {
		t.Errorf("from %+v to %+v", e.Journey.From, e.Journey.To)
	}
	if tr := e.Journey.Translations; len(tr) != 1 || tr[0].Kind != trace.SNAT || tr[0].Rule != nil || tr[0].Hook != netfilter.Postrouting {
		t.Errorf("without rules: %+v", tr)
	}
}

func TestWhatIsTranslated(t *testing.T) {
	for name, test := range map[string]struct {
		original, reply packet.Tuple
		kinds           []string
		in, out         string
	}{
		"plain":      {tcp("172.17.0.2:1", "198.51.100.7:80"), tcp("198.51.100.7:80", "172.17.0.2:1"), nil, "docker0", "eth0"},
		"masquerade": {tcp("172.17.0.2:1", "198.51.100.7:80"), tcp("198.51.100.7:80", "192.0.2.10:1"), []string{trace.SNAT}, "docker0", "eth0"},
		"published":  {tcp("198.51.100.7:1", "192.0.2.10:8000"), tcp("172.17.0.2:80", "198.51.100.7:1"), []string{trace.DNAT}, "eth0", "docker0"},
		"hairpin":    {tcp("172.17.0.2:1", "192.0.2.10:8000"), tcp("172.17.0.2:80", "172.17.0.1:1"), []string{trace.DNAT, trace.SNAT}, "docker0", "docker0"},
		"the host's": {tcp("192.0.2.10:1", "192.0.2.10:8000"), tcp("172.17.0.2:80", "172.17.0.1:1"), []string{trace.DNAT, trace.SNAT}, "", "docker0"},
	} {
		t.Run(name, func(t *testing.T) {
			table := NewTable()
			table.SetTopology(topology("back"))
			b := netfilter.Batch{Namespace: host, Events: []netfilter.Event{event(netfilter.Known, 1, test.original, test.reply)}}
			e := table.AddFlows(&b)[0].Entry
			var kinds []string
			for _, tr := range e.Journey.Translations {
				kinds = append(kinds, tr.Kind)
			}
			if len(kinds) != len(test.kinds) || len(kinds) > 0 && kinds[0] != test.kinds[0] {
				t.Errorf("kinds %v, want %v", kinds, test.kinds)
			}
			w := table.wayOf(table.topology.Namespace(host), e.Original, e.Reply.Inverse())
			if w.in != test.in || w.out != test.out {
				t.Errorf("in by %q, out by %q; want %q, %q", w.in, w.out, test.in, test.out)
			}
		})
	}
}

func TestDockerProxyIsNamed(t *testing.T) {
	for _, test := range []struct {
		from, to     string
		known, dials bool
	}{
		{"127.0.0.1:1", "127.0.0.1:8000", true, false},
		{"198.51.100.7:1", "192.0.2.10:8000", true, false},
		{"172.17.0.1:1", "172.17.0.2:80", true, true},
		{"198.51.100.7:1", "172.17.0.2:80", false, false}, // routed
		{"172.17.0.2:1", "198.51.100.7:8000", false, false},
		{"127.0.0.1:1", "127.0.0.1:8001", false, false},
	} {
		table := NewTable()
		table.SetTopology(topology("back"))
		original := tcp(test.from, test.to)
		b := netfilter.Batch{Namespace: host, Events: []netfilter.Event{event(netfilter.Known, 1, original, original.Inverse())}}
		p := table.AddFlows(&b)[0].Entry.Proxy
		if (p != nil) != test.known || p != nil && (p.Dials != test.dials || p.PID != 7 || p.Name != "back") {
			t.Errorf("%s to %s: %+v", test.from, test.to, p)
		}
	}
}

// TestEntriesAreSorted: natlens's own namespace first, then by who began them, where to,
// and when, however they came.
func TestEntriesAreSorted(t *testing.T) {
	table := NewTable()
	table.Keep = true
	table.SetTopology(topology("back"))
	type flow struct {
		in       netns.ID
		from, to string
		seen     int64
		id       uint32
		ended    bool
		protocol packet.Protocol
	}
	want := []flow{
		{in: host, from: "198.51.100.7:1", to: "192.0.2.10:8000"}, // of nobody here
		{in: host, from: "198.51.100.9:1", to: "192.0.2.10:8000"},
		{in: host, from: "172.17.0.2:2", to: "198.51.100.7:80", ended: true},
		{in: host, from: "172.17.0.2:3", to: "198.51.100.7:80"},
		{in: host, from: "172.17.0.2:1", to: "198.51.100.7:443"},
		{in: host, from: "172.17.0.2:1", to: "198.51.100.7:53", protocol: packet.UDP},
		{in: host, from: "172.17.0.2:1", to: "198.51.100.8:53", seen: 3, id: 7, ended: true},
		{in: host, from: "172.17.0.2:1", to: "198.51.100.8:53", seen: 5, id: 1},
		{in: host, from: "172.17.0.2:1", to: "198.51.100.8:53", seen: 5, id: 2},
		{in: host, from: "192.0.2.10:1", to: "198.51.100.7:80"},
		{in: back, from: "172.17.0.2:1", to: "198.51.100.7:80"},
	}
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(want)) {
		f := want[i]
		original := tcp(f.from, f.to)
		if f.protocol != 0 {
			original.Protocol = f.protocol
		}
		e := event(netfilter.Known, f.seen, original, original.Inverse())
		e.Flow.Namespace, e.Flow.ID = f.in, f.id
		table.AddFlows(&netfilter.Batch{Namespace: f.in, Events: []netfilter.Event{e}})
		if f.ended {
			e.Kind, e.Before = netfilter.Destroy, 100
			table.AddFlows(&netfilter.Batch{Namespace: f.in, Events: []netfilter.Event{e}})
		}
	}
	for round := range 20 { // maps have an order of their own each time
		for i, e := range table.Entries() {
			f := want[i]
			if e.Namespace != f.in || e.Original.Source() != netip.MustParseAddrPort(f.from).Addr() || e.Original.SourcePort != netip.MustParseAddrPort(f.from).Port() ||
				netip.AddrPortFrom(e.Original.Destination(), e.Original.DestinationPort) != netip.MustParseAddrPort(f.to) || e.ID != f.id {
				t.Fatalf("round %d: %d is %+v, want %+v", round, i, e.Flow, f)
			}
		}
	}
}

// A rule is named that makes of a flow what its entry tells, and of one that a helper
// expected none is.
func TestRuleOfAFlowIsTheOneThatMadeIt(t *testing.T) {
	const text = `{"Namespace": 1, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
		{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1, "Rules": [
			{"Ref": {"Chain": "POSTROUTING", "Position": 1}, "Expressions": [{"n": "immediate", "r": [0, 1], "h": [false, true], "d": "wAACCg=="}, {"n": "nat", "fa": 2, "a": 1}]}]}]}]}`
	rules := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(text), rules); err != nil {
		t.Fatal(err)
	}
	original := tcp("172.17.0.2:5000", "198.51.100.7:80")
	for _, c := range []struct {
		to     string
		status netfilter.Status
		ruled  bool
	}{
		{"192.0.2.10:5000", 0, true},
		{"192.0.2.10:5001", 0, true}, // the port is the kernel's to choose
		{"192.0.2.11:5000", 0, false},
		{"192.0.2.10:5000", netfilter.Expected, false},
	} {
		table := NewTable()
		table.SetTopology(topology("back"))
		table.SetRuleset(rules)
		e := event(netfilter.Known, 1, original, tcp("198.51.100.7:80", c.to))
		e.Flow.Status = c.status
		changes := table.AddFlows(&netfilter.Batch{Namespace: host, Events: []netfilter.Event{e}, Through: 1})
		if len(changes) != 1 {
			t.Fatalf("%d changes", len(changes))
		}
		if tr := changes[0].Entry.Journey.Translations; len(tr) != 1 || (tr[0].Rule != nil) != c.ruled {
			t.Errorf("to %s, status %#x: %+v, want a rule %v", c.to, c.status, tr, c.ruled)
		}
	}
}
