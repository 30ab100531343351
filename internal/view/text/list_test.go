package text

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

var update = flag.Bool("update-lists", false, "write what list and explain print to testdata instead of comparing")

// golden compares text with a file in testdata, and holds it to the width.
func golden(t *testing.T, name string, st Style, got string) {
	t.Helper()
	for line := range strings.Lines(got) {
		if line = strings.TrimSuffix(line, "\n"); Columns(line) > st.Columns() {
			t.Errorf("%s: %d columns, want at most %d: %s", name, Columns(line), st.Columns(), line)
		} else if line != strings.TrimRight(line, " ") {
			t.Errorf("%s: space at the end of %q", name, line)
		}
	}
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

var (
	narrow = Style{Width: 80, Names: true}
	wide   = Style{Width: 160, Names: true}
)

func TestLists(t *testing.T) {
	host := courseHost()
	for _, c := range []struct {
		name string
		st   Style
		got  string
	}{
		{"list-links", narrow, narrow.Links(host, false)},
		{"list-links-all", narrow, narrow.Links(host, true)},
		{"list-links-wide", wide, wide.Links(host, false)},
		{"list-links-40", Style{Width: 40}, Style{Width: 40}.Links(host, false)},
		{"list-links-ascii", Style{ASCII: true}, Style{ASCII: true}.Links(host, false)},
		{"list-containers", narrow, narrow.Containers(host)},
		{"list-containers-wide", wide, wide.Containers(host)},
		{"list-networks", narrow, narrow.Networks(host)},
		{"list-networks-wide", wide, wide.Networks(host)},
	} {
		golden(t, c.name, c.st, c.got)
	}
}

func TestListsWithoutColourAreTheSame(t *testing.T) {
	host := courseHost()
	colour := Style{Color: true}.Links(host, true)
	plain := Style{}.Links(host, true)
	if colour == plain {
		t.Error("no colour in a coloured list")
	}
	if got := uncoloured(colour); got != plain {
		t.Errorf("colour changes the text:\n%s", cmp.Diff(plain, got))
	}
}

// uncoloured removes what Paint puts in.
func uncoloured(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if n := sgrLength(s[i:]); n > 0 {
			i += n - 1
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestListsEscape(t *testing.T) {
	host := courseHost()
	evil := "\x1b]0;owned\a\u202e"
	host.Namespaces[1].Name = evil
	host.Namespaces[1].Unreadable = errors.New(evil)
	for _, n := range host.Namespaces {
		for _, l := range n.Links {
			l.Name, l.Kind, l.Role, l.Network = evil, evil, netinfo.RoleOther, evil
			if l.Peer != nil {
				l.Peer.Name = evil
			}
		}
	}
	for _, c := range host.Containers {
		c.Name, c.Image, c.Mode = evil, evil, evil
	}
	for _, n := range host.Networks {
		n.Name, n.Driver, n.Bridge = evil, evil, evil
	}
	host.Notes = []netinfo.Note{{About: evil, Text: evil}}
	st := Style{Width: 200}
	for _, got := range []string{st.Links(host, true), st.Containers(host), st.Networks(host), st.Notes(host)} {
		if strings.ContainsAny(got, "\x1b\a\u202e") {
			t.Errorf("an escape sequence came through: %q", got)
		}
	}
}

func TestListsOfLittle(t *testing.T) {
	none := (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{{ID: 1, Name: "host"}}}).Seal()
	st := Style{}
	for _, c := range []struct{ got, want string }{
		{st.Links(none, false), "no links but the loopback\n"},
		{st.Containers(none), "no container engine could be asked\n"},
		{st.Networks(none), "no container engine could be asked\n"},
		{st.Notes(none), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	none.Engine = &netinfo.Engine{}
	if got := st.Containers(none); got != "no containers are running\n" {
		t.Errorf("got %q", got)
	}
}

func TestPeerWords(t *testing.T) {
	host := courseHost()
	back := host.Namespace(backNS)
	for _, c := range []struct {
		link *netinfo.Link
		want string
	}{
		{host.Namespace(hostNS).LinkByName("vethab12cd0"), "back:eth0"},
		{back.LinkByName("eth0"), "host:vethab12cd0"},
		{host.Namespace(hostNS).LinkByName("docker0"), "1 port"},
		{host.Namespace(hostNS).LinkByName("eth0"), ""},
		{&netinfo.Link{Peer: &netinfo.Peer{Key: netinfo.LinkKey{Index: 5}}, PeerIndex: 5, PeerNSID: 3}, "index 5 in nsid 3"},
		{&netinfo.Link{Key: netinfo.LinkKey{Namespace: hostNS}, Peer: &netinfo.Peer{Key: netinfo.LinkKey{Namespace: hostNS, Index: 5}, Name: "tap"}}, "tap"},
		{&netinfo.Link{Key: netinfo.LinkKey{Namespace: backNS}, Parent: &netinfo.LinkKey{Namespace: hostNS, Index: 2}}, "on host:eth0"},
		{&netinfo.Link{Key: netinfo.LinkKey{Namespace: netns.ID(9)}, Peer: &netinfo.Peer{Key: netinfo.LinkKey{Namespace: 8, Index: 4}}}, "net:[8]:if4"},
	} {
		if got := (Style{}).peer(host, c.link); got != c.want {
			t.Errorf("%s: %q, want %q", c.link.Name, got, c.want)
		}
	}
}
