package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlens/internal/flows"
	"natlens/internal/record"
	"natlens/internal/view/jsonl"
	"natlens/netinfo/netfilter"
	"natlens/trace/filter"
)

// flowsFlags are the flags of flows.
type flowsFlags struct {
	all           bool
	follow        bool
	allNamespaces bool
	noNames       bool
	json          bool
	files         []string
}

func newFlowsCommand(a *app) *cobra.Command {
	f := &flowsFlags{}
	cmd := &cobra.Command{
		Use:   "flows [FILTER]",
		Short: "Shows the NAT table: who is behind which address and port",
		Long: "Shows what connection tracking translates now, in the host's network namespace and\n" +
			"in those of its containers: who talks to whom, both tuples, the rule that does it,\n" +
			"state and age. It only reads.\n\n" +
			"FILTER is the part of natlens watch's that a flow can answer: protocols, host, net,\n" +
			"port, src, dst, container, network, nat [KIND], flow ID, and, or, not; and\n" +
			"ADDRESS:PORT, whichever end that is, before or after translation. src and dst are\n" +
			"those of the direction in which the flow began.\n\n" +
			"A docker-proxy is no NAT; the connections on both sides of it are shown, too.",
		Example: "  sudo natlens flows 192.0.2.10:54321        # who is behind it?\n" +
			"  sudo natlens flows container back and nat masquerade\n" +
			"  sudo natlens flows -f tcp port 8000\n" +
			"  natlens flows --read incident.pcapng 192.0.2.10:54321",
		ValidArgsFunction: completeFlows,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.flows(cmd, f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.all, "all", "a", false, "also flows that nothing translates")
	flags.BoolVarP(&f.follow, "follow", "f", false, "then go on: flows that begin, change and end")
	flags.StringArrayVarP(&f.files, "read", "r", nil, "those of a `FILE` that natlens watch -w wrote, ended ones too; repeatable")
	flags.BoolVar(&f.allNamespaces, "all-namespaces", false, "every network namespace of this host")
	flags.BoolVarP(&f.noNames, "numeric", "n", false, "addresses instead of names")
	flags.BoolVarP(&f.json, "json", "j", false, "JSON Lines on standard output")
	cmd.MarkFlagsMutuallyExclusive("read", "follow")
	cmd.MarkFlagsMutuallyExclusive("read", "all-namespaces")
	return cmd
}

func (a *app) flows(cmd *cobra.Command, f *flowsFlags, args []string) error {
	expression, ends := flowExpression(args)
	if _, err := a.flowFilter(expression, nil); err != nil {
		return err
	}
	v := &flowView{app: a, flags: f, ends: ends}
	if len(f.files) > 0 {
		return a.flowsOfFiles(cmd.Context(), v, expression)
	}
	return a.flowsOfHost(cmd, v, expression)
}

// flowExpression writes ADDRESS:PORT in the words that filters have, and returns those.
func flowExpression(args []string) (expression string, ends []netip.AddrPort) {
	words := strings.Fields(strings.Join(args, " "))
	for i, w := range words {
		if at, err := netip.ParseAddrPort(w); err == nil {
			ends = append(ends, at)
			words[i] = fmt.Sprintf("(src host %[1]v and src port %[2]d or (dst host %[1]v and dst port %[2]d))", at.Addr(), at.Port())
		}
	}
	return strings.Join(words, " "), ends
}

// flowFilter parses a filter and refuses what no flow can answer.
func (a *app) flowFilter(expression string, t *flows.Table) (*filter.Filter, error) {
	table := t
	if table == nil {
		table = flows.NewTable()
	}
	pick, err := parseFilter(expression, table.Topology())
	if err != nil {
		return nil, err
	}
	if part := pick.OfPackets(); part != "" {
		return nil, usagef("flows: %q is about single packets, not about flows; natlens watch and natlens read take it", part)
	}
	return pick, nil
}

// flowsOfFiles shows the flows that files tell of.
func (a *app) flowsOfFiles(ctx context.Context, v *flowView, expression string) error {
	files, closeFiles, err := a.openFiles(v.flags.files)
	if err != nil {
		return err
	}
	defer closeFiles()
	recording, err := record.Open(files)
	if err != nil {
		return fmt.Errorf("read %w", err)
	}
	table := flows.NewTable()
	table.Keep = true
	v.now = time.Now().UnixNano()
	errRead := recording.Tell(ctx, record.Knowledge{
		Topology: table.SetTopology, Ruleset: table.SetRuleset,
		Flows: func(b *netfilter.Batch) {
			v.now = b.Through
			table.AddFlows(b)
		},
	})
	if v.pick, err = a.flowFilter(expression, table); err != nil {
		return err
	}
	if unknown := unknownNames(v.pick, table); len(unknown) > 0 && errRead == nil {
		return usagef("flows: %s", a.style().Escape(unknown[0].sentence(table)))
	}
	if err = v.table(table); errRead != nil {
		errRead = fmt.Errorf("read %w", errRead)
	}
	return errors.Join(err, errRead)
}

// flowView shows flows.
type flowView struct {
	app   *app
	flags *flowsFlags
	pick  *filter.Filter
	now   int64 // 0: the clock's

	ends []netip.AddrPort // that were asked for as ADDRESS:PORT

	shown, plain, others int
	unaged, uncounted    int // of those shown, and alive
}

// takes reports whether a flow is to be shown, and counts what is not.
func (v *flowView) takes(e *flows.Entry) bool {
	switch {
	case !v.pick.Match(e.Journey):
		v.others++
	case !v.flags.all && !e.Translated() && e.Proxy == nil:
		v.plain++
	default:
		v.shown++
		if e.Ended == 0 && e.Born == 0 {
			v.unaged++
		}
		if e.Ended == 0 && e.Packets == [2]uint64{} {
			v.uncounted++
		}
		return true
	}
	return false
}

// table shows all flows of a table, and how many it left out.
func (v *flowView) table(t *flows.Table) error {
	now := v.now
	if now == 0 {
		now = time.Now().UnixNano()
	}
	style := v.app.style()
	style.Names = !v.flags.noNames
	for _, e := range t.Entries() {
		if !v.takes(e) {
			continue
		}
		text := []byte(style.Flow(e, now))
		if v.flags.json {
			kind, at := netfilter.Known, now
			if e.Ended != 0 {
				kind, at = netfilter.Destroy, e.Ended
			}
			var err error
			if text, err = jsonl.Flow(&flows.Change{Kind: kind, Time: at, Entry: e}); err != nil {
				return err
			}
		}
		if _, err := v.app.stdout.Write(text); err != nil {
			return err
		}
	}
	v.account()
	return nil
}

// changes shows what became of flows.
func (v *flowView) changes(all []flows.Change) error {
	style := v.app.style()
	style.Names = !v.flags.noNames
	for i := range all {
		if !v.takes(all[i].Entry) {
			continue
		}
		text := []byte(style.FlowChange(&all[i]))
		if v.flags.json {
			var err error
			if text, err = jsonl.Flow(&all[i]); err != nil {
				return err
			}
		}
		if _, err := v.app.stdout.Write(text); err != nil {
			return err
		}
	}
	return nil
}
