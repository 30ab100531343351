package main

import (
	"errors"
	"slices"

	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Prints what makes a shell complete natlens's commands and flags",
		Example: "  source <(natlens completion bash)\n" +
			"  natlens completion zsh > \"${fpath[1]}/_natlens\"\n" +
			"  natlens completion fish > ~/.config/fish/completions/natlens.fish",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return errors.New("takes the name of one shell: bash, zsh or fish")
			}
			return nil
		},
		ValidArgs: []cobra.Completion{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			default:
				return root.GenFishCompletion(a.stdout, true)
			}
		},
	}
}
