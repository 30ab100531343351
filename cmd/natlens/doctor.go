package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"natlens/internal/doctor"
	"natlens/internal/view/text"
	"natlens/netinfo"
)

func newDoctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Says what this host and user permit, and what that means for each command",
		Long: "Looks at capabilities, kernel features, rules, settings and the container engine,\n" +
			"and says for each whether it is ok, limited or missing and which command that\n" +
			"concerns. It only reads; what must be tried is tried in a namespace of its own.\n\n" +
			"Status 0 when watch can run, else 3.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			topology, err := netinfo.Scan(cmd.Context(), a.host)
			report := doctor.Examine(doctor.Probe(topology, err))
			fmt.Fprint(a.stdout, a.style().Doctor(report))
			fmt.Fprintln(a.stdout)
			if report.CanWatch() {
				_, err := fmt.Fprintln(a.stdout, "natlens watch can run here.")
				return err
			}
			var names []string
			for _, c := range report.Blocking() {
				names = append(names, c.Name)
			}
			for _, line := range text.Wrap("natlens watch can't run here, for want of: "+enumerate(names)+".", a.style().Columns()) {
				fmt.Fprintln(a.stdout, line)
			}
			if os.Geteuid() != 0 {
				fmt.Fprintf(a.stdout, "As root it may; see what is missing then:\n  %s\n", a.sudoCommand())
			}
			return exitStatus(statusNotPermitted)
		},
	}
}
