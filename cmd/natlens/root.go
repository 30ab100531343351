package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/view/text"
	"natlens/netinfo"
)

// app is what the commands share.
type app struct {
	args     []string // as typed, without the program's name
	stdin    *os.File
	stdout   *output
	stderr   io.Writer
	terminal terminal
	// onTerminal: stderr is one.
	onTerminal bool
	host       netinfo.Options // where to look

	// meanwhile, where it is not nil, is played while a watch runs, and ends it;
	// around then stands before the watch's screen. Both are a demo's.
	meanwhile func(context.Context) error
	around    func(screen) screen
	color     string // --color

	running bool // a command's own code has begun
}

// style returns how text on standard output is to look. Names are said;
// commands that have -n turn them off.
func (a *app) style() text.Style {
	return text.Style{
		Color: a.color == "always" || a.color == "auto" && a.terminal.color,
		Width: a.terminal.width,
		ASCII: !a.terminal.utf8,
		Names: true,
	}
}

// newRootCommand puts the commands together.
func newRootCommand(a *app) *cobra.Command {
	cobra.EnableCommandSorting = false
	root := &cobra.Command{
		Use:   "natlens",
		Short: "Shows what Docker's networking does to a packet",
		Long: "natlens shows what Docker's networking does to a packet: where it went, what\n" +
			"NAT made of it, which rule did that, and how it knows.",
		Args:              a.noSuchCommand,
		RunE:              a.runHome,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkColor() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetHelpFunc(writeHelp)
	root.SetUsageFunc(writeUsage)
	help := newHelpCommand()
	root.SetHelpCommand(help) // becomes one of root's commands when it runs
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&a.color, "color", "auto", "`when` to use colour: auto, always or never")
	flags.BoolP("help", "h", false, "say how to use it")
	cobra.CheckErr(root.RegisterFlagCompletionFunc("color",
		cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, newCommand := range []func(*app) *cobra.Command{ // as help lists them
		newDemoCommand, newListCommand, newExplainCommand, newWatchCommand, newProbeCommand, newFlowsCommand,
		newReadCommand, newDoctorCommand, newCompletionCommand, newVersionCommand, newRestoreCommand,
	} {
		root.AddCommand(newCommand(a))
	}
	a.markRunning(root)
	a.markRunning(help)
	return root
}

// markRunning wraps the commands' own code. What fails before it runs (flags,
// arguments, groups of flags) is wrong usage.
func (a *app) markRunning(cmd *cobra.Command) {
	if own := cmd.RunE; own != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			a.running = true
			return own(c, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.markRunning(sub)
	}
}

func (a *app) checkColor() error {
	switch a.color {
	case "auto", "always", "never":
		return nil
	}
	return fmt.Errorf("--color takes auto, always or never, not %q", a.color)
}

// noSuchCommand accepts no arguments at all: what stands here was meant to be
// a command.
func (a *app) noSuchCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("no command %q%s", args[0], nearMatches(root, args[0]))
}

// noArguments is for commands that take none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no arguments, got %q", args[0])
	}
	return nil
}

// nearMatches returns "; did you mean …?", or nothing when no command's name is
// like the one that was typed.
func nearMatches(root *cobra.Command, typed string) string {
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(typed); len(near) > 0 {
		return "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return ""
}
