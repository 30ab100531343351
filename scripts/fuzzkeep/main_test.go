package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// in is an input that reaches these, each a letter.
func in(name string, size int, reaches string) input {
	i := input{name: name, text: make([]byte, size), reaches: map[string]bool{}}
	for _, r := range reaches {
		i.reaches[string(r)] = true
	}
	return i
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		found      []input
		most, room int
		want       string
	}{
		"nothing":                 {nil, 9, 99, ""},
		"nothing new":             {[]input{in("a", 1, "x")}, 9, 99, ""},
		"the one that adds most":  {[]input{in("a", 1, "ab"), in("b", 1, "abc"), in("c", 1, "c")}, 9, 99, "b"},
		"the smaller of two":      {[]input{in("a", 2, "a"), in("b", 1, "a")}, 9, 99, "b"},
		"no more than there may":  {[]input{in("a", 1, "abc"), in("b", 1, "de"), in("c", 1, "f")}, 2, 99, "a b"},
		"no more than there fits": {[]input{in("a", 50, "abc"), in("b", 60, "de"), in("c", 20, "f")}, 9, 99, "a c"},
		"no room at all":          {[]input{in("a", 1, "a")}, -3, 99, ""},
		"one that was not asked":  {[]input{{name: "a"}, in("b", 1, "a")}, 9, 99, "b"},
	} {
		var got []string
		for _, i := range choose(map[string]bool{"x": true}, c.found, c.most, c.room) {
			got = append(got, i.name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %s", name, got, c.want)
		}
	}
}

func TestReachedIn(t *testing.T) {
	got := slices.Sorted(maps.Keys(reachedIn("mode: set\na.go:1.2,3.4 5 1\na.go:4.2,5.4 1 0\nb.go:1.1,1.2 1 1\n")))
	if want := []string{"a.go:1.2,3.4", "b.go:1.1,1.2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
