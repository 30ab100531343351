package graph

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"natlens/internal/view/text"
)

// visible is how lines are to be read: what can't be shown, escaped.
func visible(lines []string) []string {
	all := make([]string, len(lines))
	for i, l := range lines {
		all[i] = text.Escape(l)
	}
	return all
}

// What Mermaid's grammar has of flowcharts and is used here, strictly.
var (
	label     = `"((?:[^"#<>&;|\[\]{}*~\x60\\]|#\d+;|<br/>)*)"`
	mermaidN  = regexp.MustCompile(`^ {2,4}n(\d+)(?:\[` + label + `\]|\[\[` + label + `\]\]|\(\[` + label + `\]\)|>` + label + `\]|\(` + label + `\))$`)
	mermaidG  = regexp.MustCompile(`^  subgraph g(\d+)\[` + label + `\]$`)
	mermaidE  = regexp.MustCompile(`^  n(\d+) (?:---|<-->|-\.->|-\.-)(?:\|` + label + `\|)? n(\d+)$`)
	reference = regexp.MustCompile(`#(\d+);`)
)

// readLabel undoes the escapes as Mermaid does.
func readLabel(s string) string {
	s = strings.ReplaceAll(s, "<br/>", "|")
	return reference.ReplaceAllStringFunc(s, func(r string) string {
		n, _ := strconv.Atoi(strings.Trim(r, "#;"))
		return string(rune(n))
	})
}

// TestMermaidGrammar reads every line by Mermaid's grammar and finds all that is
// in the graph, and nothing else.
func TestMermaidGrammar(t *testing.T) {
	for name, g := range graphs(t) {
		lines := strings.Split(strings.TrimSuffix(g.Mermaid(), "\n"), "\n")
		if lines[0] != "flowchart LR" {
			t.Errorf("%s: begins with %q", name, lines[0])
		}
		declared := map[string]bool{}
		depth, nodes, groups, edges := 0, 0, 0, 0
		for _, l := range lines[1:] {
			if m := mermaidN.FindStringSubmatch(l); m != nil {
				n, _ := strconv.Atoi(m[1])
				want := strings.Join(visible(g.nodes[n].lines), "|")
				if got := readLabel(strings.Join(m[2:], "")); got != want {
					t.Errorf("%s: node %d reads %q, want %q", name, n, got, want)
				}
				if declared[m[1]] || strings.HasPrefix(l, "    ") != (depth == 1) {
					t.Errorf("%s: node %d stands twice or in no namespace", name, n)
				}
				declared[m[1]] = true
				nodes++
				continue
			}
			if m := mermaidG.FindStringSubmatch(l); m != nil {
				depth++
				groups++
				n, _ := strconv.Atoi(m[1])
				if got, want := readLabel(m[2]), text.Escape(g.groups[n].label); got != want {
					t.Errorf("%s: namespace %d reads %q, want %q", name, n, got, want)
				}
				continue
			}
			if m := mermaidE.FindStringSubmatch(l); m != nil {
				if !declared[m[1]] || !declared[m[3]] || readLabel(m[2]) != text.Escape(g.edges[edges].label) {
					t.Errorf("%s: %q joins what is not there or reads otherwise", name, l)
				}
				edges++
				continue
			}
			if l == "  end" {
				depth--
				continue
			}
			t.Errorf("%s: not in the grammar: %q", name, l)
		}
		filled := 0
		for _, group := range g.groups {
			if len(group.nodes) > 0 {
				filled++
			}
		}
		if depth != 0 || nodes != len(g.nodes) || edges != len(g.edges) || groups != filled {
			t.Errorf("%s: %d nodes, %d edges, %d namespaces, depth %d", name, nodes, edges, groups, depth)
		}
	}
}

// TestGraphSays what a learner looks for.
func TestGraphSays(t *testing.T) {
	f := host()
	for _, c := range []struct {
		name string
		g    *Graph
		want []string
		not  []string
	}{
		{"host", Of(f), []string{"back", "database", "ubuntu", "docker0", "port 8080/tcp", "127.0.0.1:5353/udp", "masquerade to 192.0.2.10", "router 192.0.2.1", "monitor", "lonely", "lo only"}, []string{"9000", "isolated"}},
		{"back_net", Of(f, network(t, f, "back_net")), []string{"back", "database", "vethab12cd0"}, []string{"ubuntu", "docker0", "monitor", "lonely"}},
		{"two", Of(f, network(t, f, "back_net"), network(t, f, "bridge")), []string{"ubuntu", "isolated"}, []string{"monitor"}},
		{"none", Of(f, network(t, f, "none")), []string{"lonely"}, []string{"monitor", "docker0"}},
	} {
		for language, got := range map[string]string{"dot": c.g.Dot(), "mermaid": c.g.Mermaid()} {
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("%s in %s: no %q in\n%s", c.name, language, w, got)
				}
			}
			for _, w := range c.not {
				if strings.Contains(got, w) {
					t.Errorf("%s in %s: %q in\n%s", c.name, language, w, got)
				}
			}
		}
	}
	if n := strings.Count(Of(f).Dot(), "port 8080/tcp"); n != 1 {
		t.Errorf("a port that is published for IPv4 and IPv6 is drawn %d times", n)
	}
}
