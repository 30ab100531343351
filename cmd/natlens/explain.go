package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/explain"
	"natlens/internal/view/graph"
	"natlens/netinfo"
)

func newExplainCommand(a *app) *cobra.Command {
	var dot, mermaid bool
	cmd := &cobra.Command{
		Use:   "explain [TARGET...]",
		Short: "Explains a container, a link, a network or this host, in words and a drawing",
		Long: "Explains what TARGET is and how it is connected: a container (name or beginning of\n" +
			"its id), a link (eth0, or back:eth0 in another namespace) or a network. Each\n" +
			"statement is followed by the ordinary command that checks it. Without TARGET it\n" +
			"draws this host.\n\n" +
			"Two topics teach with this host's own devices: veth and nat.\n" +
			"--dot and --mermaid print a graph of networks, or of this host, to be drawn by\n" +
			"Graphviz or on a page that knows Mermaid.\n\n" +
			"It sees more as root: sockets, rules and the other ends of cables.",
		Example: "  sudo natlens explain\n" +
			"  sudo natlens explain back\n" +
			"  sudo natlens explain docker0 back:eth0\n" +
			"  sudo natlens explain veth\n" +
			"  sudo natlens explain --dot back_net | dot -Tsvg > back_net.svg",
		ValidArgsFunction: completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := netinfo.Scan(cmd.Context(), a.host)
			if err != nil {
				return err
			}
			targets, err := a.findTargets(t, args)
			if err != nil {
				return err
			}
			networks, err := networksOf(targets)
			if err != nil && (dot || mermaid) {
				return err
			}
			a.printNotes(t)
			facts := explain.Gather(t)
			switch {
			case dot:
				_, err = fmt.Fprint(a.stdout, graph.Of(facts, networks...).Dot())
			case mermaid:
				_, err = fmt.Fprint(a.stdout, graph.Of(facts, networks...).Mermaid())
			default:
				_, err = fmt.Fprint(a.stdout, a.style().Explain(facts, targets...))
			}
			return err
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&dot, "dot", false, "a graph in the language of Graphviz")
	cmd.Flags().BoolVar(&mermaid, "mermaid", false, "a graph as a flowchart of Mermaid")
	cmd.MarkFlagsMutuallyExclusive("dot", "mermaid")
	return cmd
}

// networksOf returns the networks among the targets. It is a usage error when
// there are targets and none is a network.
func networksOf(targets []explain.Target) ([]*netinfo.Network, error) {
	var networks []*netinfo.Network
	for _, t := range targets {
		if t.Network != nil {
			networks = append(networks, t.Network)
		}
	}
	if len(targets) > 0 && len(networks) == 0 {
		return nil, usagef("a graph is of networks or, without TARGET, of this host")
	}
	return networks, nil
}

// findTargets finds what each word names. One that names nothing is a usage
// error with the names most like it.
func (a *app) findTargets(t *netinfo.Topology, words []string) ([]explain.Target, error) {
	var targets []explain.Target
	for _, w := range words {
		found, err := explain.Find(t, w)
		var unknown *explain.UnknownTarget
		if errors.As(err, &unknown) {
			return nil, usagef("%w%s", unknown, a.suggestion(t, unknown))
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, found...)
	}
	return targets, nil
}

// suggestion says what may have been meant. Names come from outside.
func (a *app) suggestion(t *netinfo.Topology, unknown *explain.UnknownTarget) string {
	escape := a.style().Escape
	var near []string
	for _, n := range unknown.Near {
		near = append(near, escape(n))
	}
	switch {
	case unknown.Many:
		return ":\n  " + strings.Join(near, "\n  ")
	case len(near) > 0:
		return "; near matches:\n  " + strings.Join(near, "\n  ")
	case t.Engine == nil && len(t.Notes) > 0:
		return "; natlens list shows what is, but see its notes: no engine could be asked"
	}
	return "; natlens list shows what is"
}
