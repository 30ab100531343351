// Package graph draws a host's networks for programs that lay out pictures:
// Graphviz (dot(1)) and Mermaid. What is drawn is what was found: links, veths,
// bridges, published ports, and NAT where a rule does it.
package graph

// Graph is a picture that has no layout yet. It is made by Of and not changed.
type Graph struct {
	name   string
	groups []group // namespaces
	nodes  []node
	edges  []edge
}

// group is a network namespace. Its number is its place in Graph.groups.
type group struct {
	label string
	nodes []int
}

// shape says what a node is.
type shape uint8

const (
	link    shape = iota
	bridge        // a bridge, and the network it carries
	outside       // everything that is not on this host
	port          // a published port
	note          // words where there is nothing to draw
)

// node is a box with some lines of text, as they are: drawing escapes them.
type node struct {
	shape shape
	lines []string
}

// line says how an edge is drawn.
type line uint8

const (
	wire   line = iota // a cable, or a bridge and its port
	routed             // what this host passes on from one to the other
	leads              // what a published port leads to
	barred             // what a rule drops
)

// edge joins two nodes by their numbers.
type edge struct {
	from, to int
	line     line
	label    string
}

// add adds a node to a group, -1 for none, and returns its number.
func (g *Graph) add(in int, s shape, lines ...string) int {
	n := len(g.nodes)
	kept := lines[:0:0]
	for _, l := range lines {
		if l != "" {
			kept = append(kept, l)
		}
	}
	g.nodes = append(g.nodes, node{s, kept})
	if in >= 0 {
		g.groups[in].nodes = append(g.groups[in].nodes, n)
	}
	return n
}

func (g *Graph) addGroup(label string) int {
	g.groups = append(g.groups, group{label: label})
	return len(g.groups) - 1
}

func (g *Graph) join(from, to int, l line, label string) {
	g.edges = append(g.edges, edge{from, to, l, label})
}

// alone returns the nodes that are in no group.
func (g *Graph) alone() []int {
	grouped := make([]bool, len(g.nodes))
	for _, group := range g.groups {
		for _, n := range group.nodes {
			grouped[n] = true
		}
	}
	var all []int
	for n, is := range grouped {
		if !is {
			all = append(all, n)
		}
	}
	return all
}
