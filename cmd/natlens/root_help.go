package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlens/internal/view/text"
)

// writeHelp prints what a command is and how it is used, within 80 columns
// whatever the terminal's width: help is pasted into mails and threads.
func writeHelp(cmd *cobra.Command, _ []string) {
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	for paragraph := range strings.SplitSeq(about, "\n\n") {
		for _, line := range text.Wrap(paragraph, text.DefaultWidth) {
			fmt.Fprintln(cmd.OutOrStdout(), line)
		}
		fmt.Fprintln(cmd.OutOrStdout())
	}
	_ = writeUsage(cmd) // its error is standard output's, which remembers it
}

// writeUsage prints how a command is used, within 80 columns.
func writeUsage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAlso called:\n  %s\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.HasAvailableSubCommands() {
		var rows [][2]string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() || sub.Name() == "help" {
				rows = append(rows, [2]string{sub.Name(), sub.Short})
			}
		}
		writeRows(&b, "Commands", rows, text.DefaultWidth)
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	writeRows(&b, "Flags", flagRows(cmd.LocalFlags()), text.DefaultWidth)
	writeRows(&b, "Flags of every command", flagRows(cmd.InheritedFlags()), text.DefaultWidth)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nMore about one: %s help COMMAND\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}

// flagRows describes each flag. pflag's own list writes --help[=true|false].
func flagRows(flags *pflag.FlagSet) [][2]string {
	var rows [][2]string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		argument, usage := pflag.UnquoteUsage(f)
		if argument != "" && f.NoOptDefVal == "" {
			name += " " + argument
		}
		switch f.DefValue {
		case "", "0", "0s", "false", "[]":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		rows = append(rows, [2]string{name, usage})
	})
	return rows
}

// writeRows prints a heading and two columns, the right one wrapped; without
// rows, nothing.
func writeRows(b *strings.Builder, heading string, rows [][2]string, width int) {
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", heading)
	left := 0
	for _, r := range rows {
		left = max(left, text.Columns(r[0]))
	}
	for _, r := range rows {
		first := r[0]
		for _, line := range text.Wrap(r[1], width-left-4) {
			fmt.Fprintf(b, "  %s  %s\n", text.Pad(first, left), line)
			first = ""
		}
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "Says how to use a command",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeCommandNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				return root.Help()
			}
			for _, sub := range root.Commands() {
				if sub.Name() == args[0] || sub.HasAlias(args[0]) {
					sub.InitDefaultHelpFlag()
					return sub.Help()
				}
			}
			return usagef("no command %q%s", args[0], nearMatches(root, args[0]))
		},
	}
}

func completeCommandNames(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if len(args) == 0 {
		for _, sub := range cmd.Root().Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
