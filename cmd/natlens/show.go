package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"natlens/internal/live"
	"natlens/internal/view/text"
	"natlens/netinfo"
	"natlens/trace"
	"natlens/trace/filter"
)

// showFlags say which journeys are shown, and how: the same live and from files.
// Letters are tcpdump's.
type showFlags struct {
	links      []string
	containers []string
	noNames    bool
	detail     text.Detail
	count      int
	json       bool
	events     bool
	known      *known // what files told; nil on a host
}

// pickFlags adds the flags that pick.
func (f *showFlags) pickFlags(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.links, "interface", "i", nil, "only what passed this `LINK` (eth0, back:eth0); repeatable")
	flags.StringArrayVar(&f.containers, "container", nil, "only what this container (`NAME`) sends or gets; repeatable")
}

// viewFlags adds the flags that say what it looks like.
func (f *showFlags) viewFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&f.noNames, "numeric", "n", false, "addresses instead of names")
	flags.BoolVarP(&f.detail.Verbose, "verbose", "v", false, "a full card for each packet")
	flags.BoolVarP(&f.detail.Quiet, "quiet", "q", false, "a line for each packet")
	flags.BoolVarP(&f.detail.MACs, "ethernet", "e", false, "MAC addresses")
	flags.BoolVarP(&f.detail.NoTime, "no-time", "t", false, "no time of day")
	cmd.MarkFlagsMutuallyExclusive("verbose", "quiet")
}

// follow makes what picks journeys and says what nothing can match.
func (a *app) follow(f *showFlags, pick *filter.Filter, topology *netinfo.Topology) *live.Follow {
	names, remarks := selected(topology, f.containers, f.links)
	remarks = f.known.early(append(remarks, unheardOf(topology, pick)...), topology)
	for _, r := range append(remarks, absent(pick, f.events)...) {
		fmt.Fprintln(a.stderr, a.style().Escape(r))
	}
	warn := func(sentence string) { fmt.Fprintln(a.stderr, a.style().Escape(sentence)) }
	match, warned := pickJourneys(pick, names, f.links), map[string]bool{}
	return &live.Follow{
		Match: func(j *trace.Journey) bool {
			for _, sentence := range pick.Untold(j) {
				if !warned[sentence] {
					warned[sentence] = true
					warn(sentence)
				}
			}
			return match(j)
		},
		Limit: f.count, Events: f.events, Warn: warn,
	}
}

// aboveZero refuses numbers that mean nothing.
func aboveZero(cmd *cobra.Command, values map[string]int) error {
	for flag, value := range values {
		if cmd.Flags().Changed(flag) && value <= 0 {
			return usagef("%s: --%s takes a number above 0", cmd.Name(), flag)
		}
	}
	return nil
}
