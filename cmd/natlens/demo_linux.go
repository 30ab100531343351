package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/explain"
	"natlens/internal/lab"
)

// demoFlags are the flags of demo.
type demoFlags struct {
	list  bool
	pause bool
}

func newDemoCommand(a *app) *cobra.Command {
	f := &demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo [SCENARIO]",
		Short: "Plays Docker's networks on a host made for it",
		Long: "Builds a Docker-like host out of network namespaces of its own, with the rules\n" +
			"that Docker lays, plays a short story about it, shows what natlens says of that,\n" +
			"and removes everything. Without SCENARIO a container pings through its\n" +
			"masquerade, and a client fetches through its published port; --list names the\n" +
			"others. Lines with elsewhere$ are what you would type on a Docker host.\n\n" +
			"It needs no root, no Docker and no other program, and sends nothing to any\n" +
			"network. docs/lessons/ is a course on these scenarios.",
		Example: "  natlens demo\n" +
			"  natlens demo --list\n" +
			"  natlens demo bridge\n" +
			"  natlens demo --pause networks",
		Args:              func(_ *cobra.Command, args []string) error { return f.check(args) },
		ValidArgsFunction: completeScenarios,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.demo(cmd, f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.list, "list", false, "name the scenarios, a line each")
	flags.BoolVar(&f.pause, "pause", false, "a screen at a time, as for a class; Enter goes on")
	cmd.MarkFlagsMutuallyExclusive("list", "pause")
	return cmd
}

func (f *demoFlags) check(args []string) error {
	switch {
	case f.list && len(args) > 0:
		return fmt.Errorf("--list takes no scenario, got %q", args[0])
	case len(args) > 1:
		return fmt.Errorf("plays one scenario, got %q", args)
	case len(args) == 1:
		_, err := findScenario(args[0])
		return err
	}
	return nil
}

func (a *app) demo(cmd *cobra.Command, f *demoFlags, args []string) error {
	if f.list {
		var b strings.Builder
		var rows [][2]string
		for _, s := range lab.Scenarios() {
			rows = append(rows, [2]string{s.Name, s.Title})
		}
		writeRows(&b, "Scenarios", rows, a.style().Columns())
		_, err := fmt.Fprint(a.stdout, strings.TrimPrefix(b.String(), "\n"))
		return err
	}
	if f.pause && !a.canPause() {
		return usagef("demo: --pause needs a terminal to read Enter from and to write to")
	}
	if !lab.Inside() {
		return a.enterDemo(cmd)
	}
	s := lab.Scenarios()[0]
	if len(args) == 1 {
		var err error
		if s, err = findScenario(args[0]); err != nil {
			return err
		}
	}
	return a.playDemo(cmd.Context(), s, f.pause)
}

// findScenario finds a scenario by its name.
func findScenario(name string) (lab.Scenario, error) {
	names := make([]string, 0, len(lab.Scenarios()))
	for _, s := range lab.Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	hint := "natlens demo --list names them"
	if near := explain.Nearest(name, names); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return lab.Scenario{}, fmt.Errorf("no scenario %q; %s", name, hint)
}

func completeScenarios(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	if len(args) == 0 {
		for _, s := range lab.Scenarios() {
			o.add(s.Name, s.Title)
		}
	}
	return o.done()
}

// enterDemo runs this command again, inside namespaces of its own.
func (a *app) enterDemo(cmd *cobra.Command) error {
	status, err := lab.Run(cmd.Context(), a.args...)
	switch {
	case errors.Is(err, lab.ErrForbidden):
		return a.notPermitted(cmd, err)
	case err != nil:
		return err
	case status != 0:
		return exitStatus(status)
	}
	return nil
}
