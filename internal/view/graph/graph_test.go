package graph

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/explain"
	"natlens/internal/view/viewtest"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

var update = flag.Bool("update-graphs", false, "write the graphs to testdata instead of comparing")

// host is viewtest's host with routes, a published port, rules that masquerade and
// isolate, and a container on each network that is none.
func host() *explain.Facts {
	t := viewtest.Topology()
	everything := netip.MustParsePrefix("0.0.0.0/0")
	self := t.Namespace(t.Self)
	self.Routes = []netinfo.Route{{Destination: everything, Gateway: netip.MustParseAddr("192.0.2.1"), Link: 2}}
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			if n != self && l.Peer != nil {
				gateway := "172.24.0.1"
				if n.Name == "ubuntu" {
					gateway = "172.17.0.1"
				}
				n.Routes = []netinfo.Route{{Destination: everything, Gateway: netip.MustParseAddr(gateway), Link: l.Key.Index}}
			}
		}
	}
	back := t.Containers[slices.IndexFunc(t.Containers, func(c *netinfo.Container) bool { return c.Name == "back" })]
	back.Ports = []docker.Port{
		{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("0.0.0.0:8080")},
		{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("[::]:8080")},
		{Protocol: "udp", ContainerPort: 53, HostAddress: netip.MustParseAddrPort("127.0.0.1:5353")},
		{Protocol: "tcp", ContainerPort: 9000},
	}
	monitor := &netinfo.Container{Container: docker.Container{Name: "monitor", Mode: "host"}, Namespace: t.Self}
	lonely := &netinfo.Container{Container: docker.Container{Name: "lonely", Mode: "none"}, Namespace: 77}
	t.Containers = append(t.Containers, monitor, lonely)
	t.Namespaces = append(t.Namespaces, &netinfo.Namespace{ID: 77, Name: "lonely", Containers: []*netinfo.Container{lonely}})
	bridgeOf := netinfo.LinkKey{Namespace: t.Self, Index: 3}
	t.Networks = append(t.Networks,
		&netinfo.Network{Network: docker.Network{ID: "b1", Name: "bridge", Driver: "bridge", Masquerade: true, ICC: true,
			Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16")}}}, BridgeLink: &bridgeOf},
		&netinfo.Network{Network: docker.Network{ID: "b2", Name: "host", Driver: "host"}},
		&netinfo.Network{Network: docker.Network{ID: "b3", Name: "none", Driver: "null"}})
	t.Seal()
	rules := explain.Rules{
		NAT: func(h netfilter.Hook, p netfilter.Packet) netfilter.Match {
			if h == netfilter.Postrouting && p.OutLink == "eth0" {
				return netfilter.Match{Certainty: netfilter.Covered, Kind: "masquerade"}
			}
			return netfilter.Match{}
		},
		Walk: func(path netfilter.Path, p netfilter.Packet) netfilter.Walk {
			w := netfilter.Walk{Verdict: netfilter.Accepted, Packet: p}
			if p.InLink != p.OutLink && p.InLink != "eth0" && p.OutLink != "eth0" && slices.Contains(path, netfilter.Forward) {
				w.Verdict = netfilter.Dropped
			}
			return w
		},
	}
	return &explain.Facts{Topology: t, Rules: map[netns.ID]explain.Rules{t.Self: rules}, Forwarding: "1", BridgeFilter: "1"}
}

func network(t *testing.T, f *explain.Facts, name string) *netinfo.Network {
	t.Helper()
	for _, n := range f.Topology.Networks {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("no network %s", name)
	return nil
}

// evil gives everything that came from outside a name that means something to
// both languages and to a terminal.
func evil(f *explain.Facts) []string {
	names := []string{
		`a"];n0->n1[label="b`, `\N\G\n\\`, `&lt;b&gt;<script>alert(1)</script>`, "new\nline\x1b[31m", "`mark`[down](x) **b** _i_",
		"end", "#35;#quot;", "%%{init}%%", "]]--->n9[[", "größe 容器",
	}
	next := 0
	name := func() string { next++; return fmt.Sprintf("%s%d", names[next%len(names)], next) }
	var used []string
	give := func(s *string) { *s = name(); used = append(used, *s) }
	for _, n := range f.Topology.Namespaces {
		give(&n.Name)
		for _, l := range n.Links {
			give(&l.Name)
		}
	}
	for _, n := range f.Topology.Networks {
		give(&n.Name)
	}
	for _, c := range f.Topology.Containers {
		give(&c.Name)
		for i := range c.Ports {
			give(&c.Ports[i].Protocol)
		}
	}
	return used
}

// graphs are those of the tests, by file name.
func graphs(t *testing.T) map[string]*Graph {
	f, bad := host(), host()
	evil(bad)
	return map[string]*Graph{
		"host": Of(f), "back_net": Of(f, network(t, f, "back_net")), "two": Of(f, network(t, f, "back_net"), network(t, f, "bridge")),
		"none": Of(f, network(t, f, "none"), network(t, f, "host")), "evil": Of(bad),
		"nothing": Of(&explain.Facts{Topology: (&netinfo.Topology{}).Seal()}),
		"bare":    Of(&explain.Facts{Topology: (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{{ID: 1, Name: "host"}}}).Seal()}),
	}
}

func TestGolden(t *testing.T) {
	for name, g := range graphs(t) {
		if name == "nothing" || name == "bare" {
			continue
		}
		for file, got := range map[string]string{name + ".dot": g.Dot(), name + ".mmd": g.Mermaid()} {
			path := filepath.Join("testdata", file)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		}
	}
}

// drawn is what dot(1) read.
type drawn struct {
	Name    string
	Objects []struct {
		Name, Label string
		Draw        []struct {
			Op   string
			Text string
		} `json:"_ldraw_"`
	}
	Edges []struct{ Tail, Head int }
}

// TestDotReadsIt: Graphviz itself shows every label as it was meant.
func TestDotReadsIt(t *testing.T) {
	program, err := exec.LookPath("dot")
	if err != nil {
		t.Skip("needs dot (Debian package graphviz)")
	}
	for name, g := range graphs(t) {
		cmd := exec.CommandContext(t.Context(), program, "-Tjson")
		cmd.Stdin = strings.NewReader(g.Dot())
		var words strings.Builder
		cmd.Stderr = &words
		out, err := cmd.Output()
		if err != nil || strings.Contains(words.String(), "syntax error") {
			t.Errorf("%s: %v %s\n%s", name, err, words.String(), g.Dot())
			continue
		}
		var got drawn
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		shown := map[string]bool{}
		for _, o := range got.Objects {
			var lines []string
			for _, op := range o.Draw {
				if op.Op == "T" {
					lines = append(lines, op.Text)
				}
			}
			shown[strings.Join(lines, "|")] = true
		}
		nodes := 0
		for _, n := range g.nodes {
			nodes++
			if want := strings.Join(visible(n.lines), "|"); !shown[want] {
				t.Errorf("%s: dot shows no node %q, but %v", name, want, shown)
			}
		}
		for _, group := range g.groups {
			if len(group.nodes) > 0 {
				nodes++
				if want := strings.Join(visible([]string{group.label}), "|"); !shown[want] {
					t.Errorf("%s: dot shows no namespace %q, but %v", name, want, shown)
				}
			}
		}
		if len(got.Objects) != nodes || len(got.Edges) != len(g.edges) {
			t.Errorf("%s: dot read %d nodes and namespaces and %d edges, want %d and %d", name, len(got.Objects), len(got.Edges), nodes, len(g.edges))
		}
	}
}
