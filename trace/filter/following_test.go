package filter

import (
	"slices"
	"strings"
	"testing"
)

func TestAfter(t *testing.T) {
	for _, c := range []struct {
		expr string
		want string // words that must be offered; those with ! must not
		name string // whose names
	}{
		{"", "tcp host container nat not verdict !and !dropped !snat", "container"},
		{"back", "and or !tcp !host !not", ""},
		{"back and", "tcp not port !and !dropped", "container"},
		{"not", "icmp host container !and", "container"},
		{"container", "!tcp !and", "container"},
		{"tcp and src container", "!tcp", "container"},
		{"network", "!tcp !and", "network"},
		{"link", "", "link"},
		{"nat", "masquerade dnat and or !tcp !dropped", ""},
		{"verdict", "delivered dropped vanished !and !masquerade", ""},
		{"verdict dropped or", "vanished", ""},
		{"src", "host net port container !dst !tcp", "container"},
		{"tcp", "port src dst portrange and or !udp", ""},
		{"host", "!tcp !and", ""},
		{"port 80", "and or", ""},
		{"proto", "", ""},
		{"(udp or", "port tcp !and", "container"},
		{"back back", "!and", ""}, // wrong already
	} {
		f := After(c.expr)
		for w := range strings.FieldsSeq(c.want) {
			word, unwanted := strings.CutPrefix(w, "!")
			if slices.Contains(f.Words, word) == unwanted {
				t.Errorf("%q: %q offered %v among %v", c.expr, word, unwanted, f.Words)
			}
		}
		name := ""
		switch {
		case f.Container:
			name = "container"
		case f.Network:
			name = "network"
		case f.Link:
			name = "link"
		}
		if name != c.name {
			t.Errorf("%q: names of a %q, want %q", c.expr, name, c.name)
		}
	}
}
