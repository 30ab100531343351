//go:build !linux

package main

import "github.com/spf13/cobra"

// flowsOfHost says that this host has no connection tracking; files can be read.
func (a *app) flowsOfHost(cmd *cobra.Command, _ *flowView, _ string) error {
	return needsLinux(cmd.Name(), cmd.Short).RunE(cmd, nil)
}
