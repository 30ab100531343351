package graph

import (
	"fmt"
	"strings"
	"unicode"

	"natlens/internal/view/text"
)

// Mermaid returns the graph as a flowchart of Mermaid, as Markdown pages show it.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, n := range g.alone() {
		g.mermaidNode(&b, "  ", n)
	}
	for i, group := range g.groups {
		if len(group.nodes) == 0 {
			continue
		}
		fmt.Fprintf(&b, "  subgraph g%d[\"%s\"]\n", i, mermaidEscape(group.label))
		for _, n := range group.nodes {
			g.mermaidNode(&b, "    ", n)
		}
		b.WriteString("  end\n")
	}
	for _, e := range g.edges {
		arrow := map[line]string{wire: "---", routed: "<-->", leads: "-.->", barred: "-.-"}[e.line]
		label := ""
		if e.label != "" {
			label = `|"` + mermaidEscape(e.label) + `"|`
		}
		fmt.Fprintf(&b, "  n%d %s%s n%d\n", e.from, arrow, label, e.to)
	}
	return b.String()
}

func (g *Graph) mermaidNode(b *strings.Builder, indent string, n int) {
	open, end := "[", "]"
	switch g.nodes[n].shape {
	case bridge:
		open, end = "[[", "]]"
	case outside:
		open, end = "([", "])"
	case port:
		open, end = ">", "]"
	case note:
		open, end = "(", ")"
	}
	labels := make([]string, len(g.nodes[n].lines))
	for i, l := range g.nodes[n].lines {
		labels[i] = mermaidEscape(l)
	}
	fmt.Fprintf(b, "%sn%d%s\"%s\"%s\n", indent, n, open, strings.Join(labels, "<br/>"), end)
}

// mermaidEscape makes a quoted label show s as it is. Mermaid writes characters
// that mean something to it as #NAME; or #NUMBER; (mermaid.js.org/syntax/flowchart,
// "Entity codes to escape characters"); a label is HTML, and Markdown in backticks.
func mermaidEscape(s string) string {
	var b strings.Builder
	runes := []rune(text.Escape(s))
	within := func(i int) bool { // a word, where _ is no emphasis
		return i > 0 && i+1 < len(runes) && wordy(runes[i-1]) && wordy(runes[i+1])
	}
	for i, r := range runes {
		if strings.ContainsRune("\"#<>&`\\;|[]{}*~", r) || r == '_' && !within(i) {
			fmt.Fprintf(&b, "#%d;", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func wordy(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
