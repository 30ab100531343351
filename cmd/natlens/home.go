package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlens/internal/view/text"
	"natlens/netinfo"
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

// homePatience bounds how long the one screen waits for a slow engine.
const homePatience = 2 * time.Second

// runHome shows the one screen that natlens shows when it is asked for nothing.
// It works without privileges, and says less where they are missing.
func (a *app) runHome(root *cobra.Command, _ []string) error {
	ctx, cancel := context.WithTimeout(root.Context(), homePatience)
	defer cancel()
	topology, err := netinfo.Scan(ctx, a.host)
	if err != nil {
		topology = nil // the screen is about what to try next, too
	}
	writeHome(a.stdout, a.style(), root, hostFacts(topology))
	return nil
}

// hostFacts says what is here in a line or two. A nil Topology knows nothing.
func hostFacts(topology *netinfo.Topology) []string {
	if topology == nil {
		return nil
	}
	var uplinks, bridges, others []string
	if self := topology.Namespace(topology.Self); self != nil {
		for _, l := range self.Links {
			switch name := text.Escape(l.Name); l.Role {
			case netinfo.RoleUplink:
				uplinks = append(uplinks, name)
			case netinfo.RoleBridge:
				bridges = append(bridges, fmt.Sprintf("%s (%d)", name, len(topology.Ports(l.Key))))
			case netinfo.RoleOther:
				others = append(others, name)
			}
		}
	}
	var facts []string
	for _, kind := range []struct {
		heading string
		names   []string
	}{{"Uplink", uplinks}, {"Bridges and how many ports they have", bridges}, {"Other links", others}, {"Containers", containerNames(topology)}} {
		if len(kind.names) > 0 {
			facts = append(facts, kind.heading+": "+strings.Join(kind.names, ", "))
		}
	}
	return facts
}

// containerNames returns the names of the containers that were found on this
// host.
func containerNames(topology *netinfo.Topology) []string {
	var names []string
	for _, c := range topology.Containers {
		if c.Namespace != 0 {
			names = append(names, text.Escape(c.Name))
		}
	}
	return names
}

// writeHome prints the screen: what this is, what is here, what to try.
func writeHome(w io.Writer, style text.Style, root *cobra.Command, facts []string) {
	var b strings.Builder
	for _, line := range text.Wrap(root.Long, style.Columns()) {
		fmt.Fprintln(&b, line)
	}
	if len(facts) > 0 {
		fmt.Fprintln(&b)
	}
	for _, fact := range facts {
		for _, line := range text.Wrap(fact, style.Columns()) {
			fmt.Fprintln(&b, line)
		}
	}
	var rows [][2]string
	for _, try := range tries {
		if cmd, _, err := root.Find([]string{try.command}); err == nil && cmd != root {
			line := try.line
			if rest, ok := strings.CutPrefix(line, root.Name()); ok {
				line = root.CommandPath() + rest // as a plugin it is called otherwise
			}
			rows = append(rows, [2]string{line, strings.ToLower(cmd.Short[:1]) + cmd.Short[1:]})
		}
	}
	writeRows(&b, "Try", rows, style.Columns())
	fmt.Fprintln(&b, "\nAll commands: natlens help")
	fmt.Fprint(w, b.String())
}
