package main

import (
	"github.com/spf13/cobra"

	"natlens/netinfo/netfilter"
)

// restorerName is the hidden command that watch --trace starts as a process of its
// own where there are rules of iptables-legacy: it puts back the one setting that
// was changed when its standard input ends, which it does if watch is killed.
const restorerName = "restore-loggers"

func newRestoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: restorerName, Short: "Puts back what watch --trace has changed", Hidden: true, Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return netfilter.RestoreLoggers(a.stdin) },
	}
}
