package filter

import "slices"

// Names returns the containers, networks and links that the filter names, each once, in
// their order: so that whoever has a filter can say that there is none of that name.
func (f *Filter) Names() (containers, networks, links []string) {
	if f == nil || f.root == nil {
		return nil, nil, nil
	}
	add := func(names *[]string, name string) {
		if !slices.Contains(*names, name) {
			*names = append(*names, name)
		}
	}
	var look func(node)
	look = func(n node) {
		switch n := n.(type) {
		case negation:
			look(n.of)
		case combination:
			look(n.left)
			look(n.right)
		case container:
			add(&containers, n.name)
		case network:
			add(&networks, n.name)
		case link:
			add(&links, n.word())
		}
	}
	look(f.root)
	return containers, networks, links
}
