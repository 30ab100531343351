package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"natlens/internal/view/text"
	"natlens/netinfo"
	"natlens/netinfo/docker"
)

func TestHostFacts(t *testing.T) {
	const host = 1
	key := func(index int32) netinfo.LinkKey { return netinfo.LinkKey{Namespace: host, Index: index} }
	bridge := key(3)
	topology := (&netinfo.Topology{
		Self: host,
		Namespaces: []*netinfo.Namespace{{ID: host, Name: "host", Links: []*netinfo.Link{
			{Key: key(1), Name: "lo", Role: netinfo.RoleLoopback},
			{Key: key(2), Name: "eth0", Role: netinfo.RoleUplink},
			{Key: bridge, Name: "docker0", Role: netinfo.RoleBridge},
			{Key: key(4), Name: "veth1", Role: netinfo.RoleVeth, Master: &bridge},
			{Key: key(5), Name: "evil\x1b[2J", Role: netinfo.RoleOther},
		}}},
		Containers: []*netinfo.Container{
			{Container: docker.Container{Name: "back"}, Namespace: 2},
			{Container: docker.Container{Name: "elsewhere"}},
		},
	}).Seal()
	got := strings.Join(hostFacts(topology), "\n")
	want := `Uplink: eth0
Bridges and how many ports they have: docker0 (1)
Other links: evil\x1b[2J
Containers: back`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if facts := hostFacts(nil); len(facts) > 0 {
		t.Errorf("a host of which nothing is known has facts: %q", facts)
	}
}

func TestHomeNamesOnlyWhatExists(t *testing.T) {
	root := &cobra.Command{Use: "natlens", Long: "What it is."}
	root.AddCommand(&cobra.Command{Use: "list", Short: "Shows what is here"})
	var b strings.Builder
	writeHome(&b, text.Style{}, root, []string{"Uplink: eth0"})
	want := `What it is.

Uplink: eth0

Try:
  natlens list  shows what is here

All commands: natlens help
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &b, want)
	}
}
