package main

import (
	"slices"
	"strings"
	"testing"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
	"natlens/trace/filter"
)

// pickHost is a host with two containers on veths and one on its own network.
func pickHost() *netinfo.Topology {
	const self, inner netns.ID = 1, 2
	link := func(ns netns.ID, index int32, name string) *netinfo.Link {
		return &netinfo.Link{Key: netinfo.LinkKey{Namespace: ns, Index: index}, Name: name}
	}
	container := func(name, id string, ns netns.ID) *netinfo.Container {
		c := &netinfo.Container{Namespace: ns}
		c.Name, c.ID = name, id
		return c
	}
	back, helper := container("back", "9d74845b40ba", inner), container("helper", "9d74ffffffff", inner)
	hosted := container("hosted", "42d117248b5a", self)
	t := &netinfo.Topology{
		Self:       self,
		Containers: []*netinfo.Container{back, helper, hosted},
		Namespaces: []*netinfo.Namespace{
			{ID: self, Name: "host", Containers: []*netinfo.Container{hosted}, Links: []*netinfo.Link{link(self, 2, "eth0"), link(self, 3, "veth1")}},
			{ID: inner, Name: "back", Containers: []*netinfo.Container{back, helper}, Links: []*netinfo.Link{link(inner, 2, "eth0")}},
		},
	}
	return t.Seal()
}

func TestSelected(t *testing.T) {
	for _, c := range []struct {
		containers, links []string
		want              string // names
		remark            string // part of the only one; empty for none
	}{
		{[]string{"back"}, []string{"eth0", "back:eth0", "helper:eth0"}, "back", ""},
		{[]string{"9d74845b"}, nil, "back", ""},
		{[]string{"9d74"}, nil, "9d74", "no container \"9d74\" yet"}, // two begin like this
		{[]string{"42d"}, nil, "42d", "no container \"42d\" yet"},    // too short
		{[]string{"hosted"}, nil, "hosted", "hosted uses the host's own network"},
		{[]string{"42d1"}, nil, "hosted", "hosted uses the host's own network"},
		{nil, []string{"eth7"}, "", "no link \"eth7\" yet"},
		{nil, []string{"back:veth1"}, "", "no link \"back:veth1\" yet"},
	} {
		names, remarks := selected(pickHost(), c.containers, c.links)
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%v: %q, want %q", c.containers, got, c.want)
		}
		if said := strings.Join(remarks, "\n"); (c.remark == "") != (said == "") || !strings.Contains(said, c.remark) || len(remarks) > 1 {
			t.Errorf("%v %v: said %q, want %q", c.containers, c.links, said, c.remark)
		}
	}
}

// Files of other programs have links, of which nothing is known before they are
// read, and no names at all.
func TestSelectedOfFilesWithoutNames(t *testing.T) {
	names, remarks := selected(nil, []string{"back"}, []string{"eth0", "any:eth0"})
	if want := `no container "back": files of other programs know no containers`; len(names) != 1 || strings.Join(remarks, "\n") != want {
		t.Errorf("names %q, said %q, want %q", names, remarks, want)
	}
}

// A name in a filter that nobody has is said, with what it may have meant.
func TestUnheardOf(t *testing.T) {
	host := pickHost()
	host.Networks = []*netinfo.Network{{}}
	host.Networks[0].Name = "back_net"
	for _, c := range []struct{ expression, said string }{
		{"back and tcp", ""},
		{"network back_net or container helper", ""},
		{"9d74845b", ""},
		{"host 172.17.0.2", ""},
		{"bakc", `no container "bakc" yet; waiting for one (near matches: back)`},
		{"not container later", `no container "later" yet; waiting for one`},
		{"link eth0 or link back/eth0 or link helper:eth0", ""},
		{"link nope or link back:veth1", "no link \"nope\" yet; waiting for one\nno link \"back:veth1\" yet; waiting for one"},
		{"network backnet", `no network "backnet" yet; waiting for one (near matches: back_net)`},
	} {
		pick, err := parseFilter(c.expression, host)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(unheardOf(host, pick), "\n"); said != c.said {
			t.Errorf("%s: said %q, want %q", c.expression, said, c.said)
		}
	}
}

func TestPickJourneys(t *testing.T) {
	host := pickHost()
	hop := func(n *netinfo.Namespace, link string) trace.Hop {
		h := trace.Hop{Point: capture.Point{Namespace: n.ID}, Namespace: n.Name, Interface: link}
		if n.ID != host.Self {
			h.Containers = []string{"back", "helper"}
		}
		return h
	}
	inside := &trace.Journey{Topology: host, Hops: []trace.Hop{hop(host.Namespaces[1], "eth0"), hop(host.Namespaces[0], "veth1")},
		From: trace.Endpoint{Name: "back", Containers: []string{"back", "helper"}}}
	outside := &trace.Journey{Topology: host, Hops: []trace.Hop{hop(host.Namespaces[0], "eth0")}, From: trace.Endpoint{Name: "host"}}
	for _, c := range []struct {
		containers, links []string
		want              []bool // inside, outside
	}{
		{nil, nil, []bool{true, true}},
		{nil, []string{"eth0"}, []bool{false, true}}, // as for tcpdump: this host's
		{nil, []string{"host:eth0"}, []bool{false, true}},
		{nil, []string{"back:eth0"}, []bool{true, false}},
		{nil, []string{"helper:eth0"}, []bool{true, false}},
		{nil, []string{"eth0", "veth1"}, []bool{true, true}},
		{[]string{"helper"}, nil, []bool{true, false}},
		{[]string{"back"}, []string{"eth0"}, []bool{false, false}},
		{[]string{"hosted"}, nil, []bool{false, false}},
	} {
		pick := pickJourneys(&filter.Filter{}, c.containers, c.links)
		if got := []bool{pick(inside), pick(outside)}; !slices.Equal(got, c.want) {
			t.Errorf("--container %v -i %v: %v, want %v", c.containers, c.links, got, c.want)
		}
	}
}
