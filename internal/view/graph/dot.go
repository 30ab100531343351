package graph

import (
	"fmt"
	"strings"

	"natlens/internal/view/text"
)

// Dot returns the graph in the language of dot(1).
func (g *Graph) Dot() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n", dotQuote(g.name))
	b.WriteString("  graph [rankdir=LR fontname=\"sans-serif\"]\n")
	b.WriteString("  node [shape=box style=rounded fontname=\"sans-serif\" fontsize=11]\n")
	b.WriteString("  edge [dir=none fontname=\"sans-serif\" fontsize=9]\n")
	for _, n := range g.alone() {
		g.dotNode(&b, "  ", n)
	}
	for i, group := range g.groups {
		if len(group.nodes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph cluster%d {\n    label=%s\n    style=dashed\n", i, dotQuote(group.label))
		for _, n := range group.nodes {
			g.dotNode(&b, "    ", n)
		}
		b.WriteString("  }\n")
	}
	for _, e := range g.edges {
		fmt.Fprintf(&b, "  n%d -> n%d [label=%s", e.from, e.to, dotQuote(e.label))
		switch e.line {
		case routed:
			b.WriteString(" dir=both arrowsize=0.6")
		case leads:
			b.WriteString(" dir=forward style=dashed")
		case barred:
			b.WriteString(" style=dotted color=red constraint=false")
		}
		b.WriteString("]\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (g *Graph) dotNode(b *strings.Builder, indent string, n int) {
	labels := make([]string, len(g.nodes[n].lines))
	for i, l := range g.nodes[n].lines {
		labels[i] = dotEscape(l)
	}
	fmt.Fprintf(b, "%sn%d [label=\"%s\"", indent, n, strings.Join(labels, `\n`))
	switch g.nodes[n].shape {
	case bridge:
		b.WriteString(" shape=box3d style=\"\"")
	case outside:
		b.WriteString(" shape=ellipse")
	case port:
		b.WriteString(" shape=cds style=\"\"")
	case note:
		b.WriteString(" shape=plaintext")
	}
	b.WriteString("]\n")
}

func dotQuote(s string) string { return `"` + dotEscape(s) + `"` }

// dotEscape makes a label show s as it is: a backslash begins an escape of labels
// (graphviz.org/docs/attr-types/escString), and an ampersand an entity of HTML.
func dotEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`).Replace(text.Escape(s))
}
