package explain

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// towns is a host with a container, a network of the same name, and links with
// equal names in several namespaces.
func towns() *netinfo.Topology {
	link := func(ns, i int, name string) *netinfo.Link {
		return &netinfo.Link{Key: netinfo.LinkKey{Namespace: netns.ID(100 + ns), Index: int32(i)}, Name: name}
	}
	bonn := &netinfo.Container{Container: docker.Container{ID: "abcd1234", Name: "bonn"}, Namespace: 102}
	trier := &netinfo.Container{Container: docker.Container{ID: "abef5678", Name: "trier"}, Namespace: 102}
	return (&netinfo.Topology{
		Self: 101,
		Namespaces: []*netinfo.Namespace{
			{ID: 101, Name: "host", Links: []*netinfo.Link{link(1, 2, "uplink0"), link(1, 3, "docker0")}},
			{ID: 102, Name: "bonn", Containers: []*netinfo.Container{bonn, trier}, Links: []*netinfo.Link{link(2, 2, "eth0"), link(2, 3, "only0")}},
			{ID: 103, Name: "lab", Links: []*netinfo.Link{link(3, 2, "eth0")}},
		},
		Containers: []*netinfo.Container{bonn, trier},
		Networks:   []*netinfo.Network{{Network: docker.Network{ID: "77aa00", Name: "bonn"}}, {Network: docker.Network{ID: "ff", Name: "bridge"}}},
	}).Seal()
}

func TestFind(t *testing.T) {
	host := towns()
	for _, c := range []struct{ word, want string }{
		{"veth", "topic veth"},
		{"nat", "topic nat"},
		{"host", "namespace host"},
		{"lab", "namespace lab"},
		{"bonn", "container bonn, network bonn"},
		{"trier", "container trier"},
		{"abcd", "container bonn"},
		{"abef5678", "container trier"},
		{"77a", "network bonn"},
		{"docker0", "link docker0"},
		{"bonn:eth0", "link eth0"},
		{"trier:eth0", "link eth0"},
		{"only0", "link only0"},
	} {
		found, err := Find(host, c.word)
		if err != nil {
			t.Errorf("%s: %v", c.word, err)
		}
		if got := describe(found); got != c.want {
			t.Errorf("%s names %s, want %s", c.word, got, c.want)
		}
	}
}

func describe(targets []Target) string {
	var words []string
	for _, t := range targets {
		switch {
		case t.Topic != "":
			words = append(words, "topic "+t.Topic)
		case t.Container != nil:
			words = append(words, "container "+t.Container.Name)
		case t.Network != nil:
			words = append(words, "network "+t.Network.Name)
		case t.Namespace != nil:
			words = append(words, "namespace "+t.Namespace.Name)
		case t.Link != nil:
			words = append(words, "link "+t.Link.Name)
		}
	}
	return strings.Join(words, ", ")
}

func TestFindUnknown(t *testing.T) {
	host := towns()
	for _, c := range []struct {
		word string
		many bool
		near []string
	}{
		{"bon", false, []string{"bonn", "bonn:eth0", "bonn:only0"}},
		{"tireer", false, []string{"trier"}},
		{"dokcer0", false, []string{"docker0"}},
		{"DOCKER0", false, []string{"docker0"}},
		{"ab", false, []string{"lab", "lab:eth0"}}, // the beginning of two ids
		{"eth0", true, []string{"bonn:eth0", "lab:eth0"}},
		{"zzzzzz", false, nil},
		{"", false, nil},
	} {
		_, err := Find(host, c.word)
		var unknown *UnknownTarget
		if !errors.As(err, &unknown) {
			t.Errorf("%q: error %v, want an UnknownTarget", c.word, err)
			continue
		}
		if unknown.Many != c.many || !slices.Equal(unknown.Near, c.near) {
			t.Errorf("%q: near %v (many %v), want %v (%v)", c.word, unknown.Near, unknown.Many, c.near, c.many)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"back", "back", 0}, {"bakc", "back", 1}, {"bck", "back", 1},
		{"backk", "back", 1}, {"kitten", "sitting", 3}, {"größe", "große", 1},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func FuzzFind(f *testing.F) {
	host := towns()
	for _, n := range append(names(host), "ab", "\xff", "eth0:", ":") {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, word string) {
		found, err := Find(host, word)
		if (err == nil) != (len(found) > 0) {
			t.Errorf("%q: %d found and error %v", word, len(found), err)
		}
	})
}
