package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/explain"
	"natlens/netinfo"
)

func newExplainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain [TARGET...]",
		Short: "Explains a container, a link, a network or this host, in words and a drawing",
		Long: "Explains what TARGET is and how it is connected: a container (name or beginning of\n" +
			"its id), a link (eth0, or back:eth0 in another namespace) or a network. Each\n" +
			"statement is followed by the ordinary command that checks it. Without TARGET it\n" +
			"draws this host.\n\n" +
			"Two topics teach with this host's own devices: veth and nat.\n" +
			"It sees more as root: sockets, rules and the other ends of cables.",
		Example: "  sudo natlens explain\n" +
			"  sudo natlens explain back\n" +
			"  sudo natlens explain docker0 back:eth0\n" +
			"  sudo natlens explain veth",
		ValidArgsFunction: completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := netinfo.Scan(cmd.Context(), netinfo.Options{})
			if err != nil {
				return err
			}
			targets, err := a.findTargets(t, args)
			if err != nil {
				return err
			}
			a.printNotes(t)
			_, err = fmt.Fprint(a.stdout, a.style().Explain(explain.Gather(t), targets...))
			return err
		},
	}
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
		return "; natlens list shows what is, but see its notes: no engine was found"
	}
	return "; natlens list shows what is"
}
