package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/view/jsonl"
	"natlens/internal/view/text"
	"natlens/netinfo"
)

func newListCommand(a *app) *cobra.Command {
	var all, json bool
	cmd := &cobra.Command{
		Use:     "list [links|containers|networks]",
		Aliases: []string{"ls"},
		Short:   "Lists links, containers or networks and how they belong together",
		Long: "Lists the links of this host by role: uplinks, bridges with the veths plugged into\n" +
			"them, and what is at the other end of each. An address in parentheses is at that\n" +
			"other end. Or lists the engine's containers, or its networks.\n\n" +
			"It sees more as root: without, the insides of other namespaces stay closed.",
		Example: "  sudo natlens list\n" +
			"  sudo natlens list links --all\n" +
			"  natlens list containers\n" +
			"  sudo natlens list --json | jq '.links[] | select(.role == \"veth\")'",
		ValidArgs: []cobra.Completion{"links", "containers", "networks"},
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("lists one kind of thing, got %s", strings.Join(args, " "))
			case len(args) == 1 && !slices.Contains(cmd.ValidArgs, args[0]):
				return fmt.Errorf("lists links, containers or networks, not %q", args[0])
			case all && len(args) == 1 && args[0] != "links":
				return fmt.Errorf("--all is about links, not %s", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := netinfo.Scan(cmd.Context(), a.host)
			if err != nil {
				return err
			}
			a.printNotes(t)
			if json {
				line, err := jsonl.List(t)
				if err != nil {
					return err
				}
				_, err = a.stdout.Write(line)
				return err
			}
			_, err = fmt.Fprint(a.stdout, listText(a.style(), t, append(args, "links")[0], all))
			return err
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVarP(&all, "all", "a", false, "the links of every namespace, and loopbacks")
	cmd.Flags().BoolVarP(&json, "json", "j", false, "one JSON object with everything, whichever kind is asked for")
	return cmd
}

func listText(style text.Style, t *netinfo.Topology, kind string, all bool) string {
	switch kind {
	case "containers":
		return style.Containers(t)
	case "networks":
		return style.Networks(t)
	}
	return style.Links(t, all)
}

// printNotes says on standard error what a scan could not see.
func (a *app) printNotes(t *netinfo.Topology) {
	style := a.style()
	style.Color = false // that is about standard output
	fmt.Fprint(a.stderr, style.Notes(t))
}
