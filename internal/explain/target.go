package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"natlens/netinfo"
)

// Target is one thing to explain; exactly one field is set.
type Target struct {
	Topic     string // "veth" or "nat"
	Namespace *netinfo.Namespace
	Container *netinfo.Container
	Link      *netinfo.Link
	Network   *netinfo.Network
}

// Topics are the lessons that can be asked for.
var Topics = []string{"veth", "nat"}

// UnknownTarget is a word that names nothing on this host.
type UnknownTarget struct {
	Word string
	// Near are the names most like it, most alike first, as they can be typed;
	// or, when the word is the name of several things, those.
	Near []string
	Many bool // the word names all of Near
}

func (e *UnknownTarget) Error() string {
	if e.Many {
		return fmt.Sprintf("%q is the name of several things", e.Word)
	}
	return fmt.Sprintf("nothing here is called %q", e.Word)
}

// Find returns everything that a word names: a topic, a container by name, by its
// service of Docker Compose (SERVICE or PROJECT/SERVICE) or by the beginning of its id, a link (NAMESPACE:LINK for one that is not in
// natlens's own namespace), a network, a namespace. A word that names nothing,
// or several links alike, is an *UnknownTarget.
func Find(t *netinfo.Topology, word string) ([]Target, error) {
	if slices.Contains(Topics, word) {
		return []Target{{Topic: word}}, nil
	}
	if self := t.Namespace(t.Self); self != nil && word == self.Name {
		return []Target{{Namespace: self}}, nil
	}
	found := exact(t, word)
	if len(found) == 0 {
		found = byService(t, word)
	}
	if len(found) == 0 {
		found = byID(t, word)
	}
	if len(found) == 0 {
		links := elsewhere(t, word)
		if len(links) > 1 {
			return nil, &UnknownTarget{Word: word, Near: linkNames(t, links), Many: true}
		}
		for _, l := range links {
			found = append(found, Target{Link: l})
		}
	}
	if len(found) == 0 {
		return nil, &UnknownTarget{Word: word, Near: Nearest(word, names(t))}
	}
	return found, nil
}

// exact finds what has the word as its name.
func exact(t *netinfo.Topology, word string) []Target {
	var found []Target
	for _, c := range t.Containers {
		if c.Name == word || c.ID == word {
			found = append(found, Target{Container: c})
		}
	}
	for _, n := range t.Networks {
		if n.Name == word || n.ID == word {
			found = append(found, Target{Network: n})
		}
	}
	for _, n := range t.Namespaces {
		if n.Name == word && len(n.Containers) == 0 {
			found = append(found, Target{Namespace: n})
		}
		for _, l := range n.Links {
			if n.ID == t.Self && l.Name == word || n.Name+":"+l.Name == word {
				found = append(found, Target{Link: l})
			}
		}
		for _, c := range n.Containers {
			link, ok := strings.CutPrefix(word, c.Name+":")
			if l := n.LinkByName(link); ok && l != nil && c.Name != n.Name {
				found = append(found, Target{Link: l})
			}
		}
	}
	return found
}

// byService finds the containers of a service of Docker Compose.
func byService(t *netinfo.Topology, word string) []Target {
	var found []Target
	for _, c := range t.Containers {
		if c.IsService(word) {
			found = append(found, Target{Container: c})
		}
	}
	return found
}

// byID finds the one container or network whose id begins with the word.
func byID(t *netinfo.Topology, word string) []Target {
	if len(word) < 2 || strings.Trim(word, "0123456789abcdef") != "" {
		return nil
	}
	var found []Target
	for _, c := range t.Containers {
		if strings.HasPrefix(c.ID, word) {
			found = append(found, Target{Container: c})
		}
	}
	for _, n := range t.Networks {
		if strings.HasPrefix(n.ID, word) {
			found = append(found, Target{Network: n})
		}
	}
	if len(found) > 1 {
		return nil
	}
	return found
}

// elsewhere finds links with that name outside natlens's own namespace.
func elsewhere(t *netinfo.Topology, word string) []*netinfo.Link {
	var found []*netinfo.Link
	for _, n := range t.Namespaces {
		if l := n.LinkByName(word); l != nil && n.ID != t.Self {
			found = append(found, l)
		}
	}
	return found
}

func linkNames(t *netinfo.Topology, links []*netinfo.Link) []string {
	all := make([]string, len(links))
	for i, l := range links {
		all[i] = t.NamespaceName(l.Key.Namespace) + ":" + l.Name
	}
	return all
}

// Names returns every name that Find knows, without doubles.
func Names(t *netinfo.Topology) []string {
	all := names(t)
	slices.Sort(all)
	return slices.Compact(all)
}

func names(t *netinfo.Topology) []string {
	all := slices.Clone(Topics)
	for _, c := range t.Containers {
		all = append(all, c.Name)
	}
	for _, n := range t.Networks {
		all = append(all, n.Name)
	}
	for _, n := range t.Namespaces {
		all = append(all, n.Name)
		for _, l := range n.Links {
			if n.ID == t.Self {
				all = append(all, l.Name)
			} else {
				all = append(all, n.Name+":"+l.Name)
			}
		}
	}
	return all
}

// maxNear is how many near matches are worth reading.
const maxNear = 5

// Nearest returns the candidates most like the word: those that differ by few
// letters, and those that contain it.
func Nearest(word string, candidates []string) []string {
	type near struct {
		name     string
		distance int
	}
	var found []near
	folded := strings.ToLower(word)
	limit := max(1, min(3, len(word)/2))
	for _, c := range candidates {
		d := distance(folded, strings.ToLower(c))
		if d > limit {
			if len(word) < 2 || !strings.Contains(strings.ToLower(c), folded) {
				continue
			}
			d = limit + 1 // like it, but less
		}
		found = append(found, near{c, d})
	}
	slices.SortStableFunc(found, func(a, b near) int {
		return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name))
	})
	var names []string
	for _, n := range found {
		if !slices.Contains(names, n.name) && len(names) < maxNear {
			names = append(names, n.name)
		}
	}
	return names
}

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to make b of a (Damerau and Levenshtein, each letter once).
func distance(a, b string) int {
	s, u := []rune(a), []rune(b)
	before, last := make([]int, len(u)+1), make([]int, len(u)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row := make([]int, len(u)+1)
		row[0] = i
		for j := 1; j <= len(u); j++ {
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1])
			if s[i-1] != u[j-1] {
				row[j] = min(last[j], row[j-1], last[j-1]) + 1
			}
			if i > 1 && j > 1 && s[i-1] == u[j-2] && s[i-2] == u[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(u)]
}
