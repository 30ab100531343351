//go:build !linux

package main

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"
)

// Namespaces, packet sockets and conntrack are Linux's. Elsewhere these commands
// only say so; files can be read anywhere.

func newDemoCommand(*app) *cobra.Command {
	return needsLinux("demo", "Shows a ping through NAT on a host made for it")
}

func newWatchCommand(*app) *cobra.Command {
	return needsLinux("watch", "Shows packets live, before and after NAT")
}

func newProbeCommand(*app) *cobra.Command {
	return needsLinux("probe", "Sends one packet from inside a container and says what became of it")
}

func newRestoreCommand(*app) *cobra.Command {
	return &cobra.Command{Use: "restore-loggers", Short: "Puts back what watch --trace has changed", Hidden: true, Run: func(*cobra.Command, []string) {}}
}

func needsLinux(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short + " (needs Linux)", DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return &notPermitted{
				err:    errors.New(name + " needs Linux, this is " + runtime.GOOS),
				advice: []string{"Run it on the Docker host, and read its file here:", "  ssh HOST sudo natlens watch -w - | natlens read -"},
			}
		},
	}
}
