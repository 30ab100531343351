package netinfo

import (
	"strings"
	"testing"

	"natlens/netinfo/docker"
)

func TestTogether(t *testing.T) {
	inventory := func(unasked bool, containers, networks string) *docker.Inventory {
		i := &docker.Inventory{Engine: docker.Engine{Unasked: unasked}}
		for _, id := range strings.Fields(containers) {
			i.Containers = append(i.Containers, docker.Container{ID: id, Unasked: unasked})
		}
		for _, id := range strings.Fields(networks) {
			i.Networks = append(i.Networks, docker.Network{ID: id, Unasked: unasked})
		}
		return i
	}
	say := func(i *docker.Inventory) string {
		if i == nil {
			return "nothing"
		}
		var words []string
		for _, c := range i.Containers {
			words = append(words, c.ID)
		}
		for _, n := range i.Networks {
			words = append(words, n.ID)
		}
		return strings.Join(words, " ")
	}
	for _, c := range []struct {
		asked, found *docker.Inventory
		want         string
	}{
		{nil, nil, "nothing"},
		{inventory(false, "a", "m"), nil, "a m"},
		{nil, inventory(true, "b", "n"), "b n"},
		{inventory(false, "a", "m"), inventory(true, "b", "n m"), "a b m n"},
		{inventory(false, "a b", "m"), inventory(true, "b", "n"), "a b m"}, // Podman, and its service runs
	} {
		if got := say(together(c.asked, c.found)); got != c.want {
			t.Errorf("%s and %s are %s, want %s", say(c.asked), say(c.found), got, c.want)
		}
	}
	if got := unaskedNotes(together(inventory(false, "a", ""), inventory(true, "b c", ""))); len(got) != 1 ||
		!strings.Contains(got[0].Text, "2 containers are known by their conmon processes") || !strings.Contains(got[0].Text, "DOCKER_HOST=unix:///run/podman/podman.sock") {
		t.Errorf("notes %v", got)
	}
	if got := unaskedNotes(inventory(false, "a", "")); got != nil {
		t.Errorf("notes %v of an engine that was asked", got)
	}
}
