package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"natlens/internal/view/text"
)

// tries are what a newcomer may type, in the order to try them. Those whose
// command does not exist are left out.
var tries = []struct{ command, line string }{
	{"demo", "natlens demo"},
	{"list", "natlens list"},
	{"explain", "natlens explain"},
	{"doctor", "natlens doctor"},
	{"watch", "sudo natlens watch icmp"},
}

// runHome shows the one screen that natlens shows when it is asked for nothing.
func (a *app) runHome(root *cobra.Command, _ []string) error {
	writeHome(a.stdout, a.style(), root, a.facts())
	return nil
}

// facts says what is here in a line or two, from what costs no privilege and
// no time.
func (a *app) facts() []string {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 {
			names = append(names, text.Style{}.Escape(l.Name))
		}
	}
	if len(names) == 0 {
		return []string{"Here: no links but the loopback."}
	}
	return []string{fmt.Sprintf("Here: %s.", strings.Join(names, ", "))}
}

// writeHome prints the screen: what this is, what is here, what to try.
func writeHome(w io.Writer, style text.Style, root *cobra.Command, facts []string) {
	fmt.Fprintln(w, root.Long)
	fmt.Fprintln(w)
	for _, fact := range facts {
		for _, line := range text.Wrap(fact, style.Columns()) {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "Try:")
	for _, try := range tries {
		if cmd, _, err := root.Find([]string{try.command}); err == nil && cmd != root {
			line := "  " + text.Pad(try.line, 25) + " " + strings.ToLower(cmd.Short[:1]) + cmd.Short[1:]
			fmt.Fprintln(w, style.Cut(line, style.Columns()))
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "All commands: natlens help")
}
