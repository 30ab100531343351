package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"natlens/internal/explain"
	"natlens/internal/live"
	"natlens/internal/probe"
	"natlens/internal/view/jsonl"
	"natlens/internal/view/text"
	"natlens/netinfo"
)

// probeFlags are the flags of probe.
type probeFlags struct {
	udp     bool
	dryRun  bool
	count   int
	timeout seconds
	file    string
	verbose bool
	json    bool
}

func newProbeCommand(a *app) *cobra.Command {
	f := &probeFlags{}
	cmd := &cobra.Command{
		Use:   "probe FROM TO[:PORT]",
		Short: "Sends one packet from inside a container and says what became of it",
		Long: "Sends one packet of its own from inside FROM's network namespace, follows it\n" +
			"there and back, and says in a sentence whether TO was reached, and if not, who\n" +
			"dropped it or where it was lost. Nothing is needed in the container's image.\n\n" +
			"FROM is a container, a link or host; TO a container, a name or an address. With\n" +
			"a port it sends a SYN and, when that is answered, closes the connection with a\n" +
			"reset; with --udp, or PORT/udp, a datagram; without a port an echo request. It is\n" +
			"sent once: a SYN that nobody answers is not repeated. A name that is no\n" +
			"container's is looked up as FROM would, by DNS queries, which are told.\n\n" +
			"--file checks a whole policy, a line for each path, as in\n\n" +
			"  ubuntu -> back:8000 dropped\n\n" +
			"The result is reached, refused, dropped, unreachable, lost or unresolved. A line\n" +
			"about what is not here is one that does not hold. With --dry-run the policy is\n" +
			"foretold, and nothing sent.\n\n" +
			"--timeout bounds the wait for the answer. What became of the packets may take as\n" +
			"long again to be known, and longer on a busy machine; name servers have 2 s each.\n\n" +
			"Exit status: 0 reached (with --file: all as the lines say), 1 not, 2 wrong\n" +
			"usage, 3 not permitted, 4 the probe itself failed\n" +
			"or was interrupted.",
		Example: "  sudo natlens probe back database:5432\n" +
			"  sudo natlens probe ubuntu 198.51.100.7\n" +
			"  sudo natlens probe --dry-run host back:8000\n" +
			"  sudo natlens probe --file paths.txt",
		ValidArgsFunction: completeProbe,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.probe(cmd, f, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.udp, "udp", false, "send a datagram to the port")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what is expected, and send nothing")
	flags.IntVarP(&f.count, "count", "c", 1, "send so many (`N`), five a second")
	f.timeout = seconds(time.Second)
	flags.Var(&f.timeout, "timeout", "wait so long (`TIME`; 5 is 5s) for an answer")
	flags.StringVar(&f.file, "file", "", "check the policy in this `FILE`; - is standard input")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "also a full card for each packet")
	flags.BoolVarP(&f.json, "json", "j", false, "JSON Lines on standard output")
	cmd.MarkFlagsMutuallyExclusive("file", "count")
	cmd.MarkFlagsMutuallyExclusive("file", "udp")
	return cmd
}

func (a *app) probe(cmd *cobra.Command, f *probeFlags, args []string) error {
	if err := aboveZero(cmd, map[string]int{"count": f.count, "timeout": int(f.timeout)}); err != nil {
		return err
	}
	policy, requests, err := a.questions(f, args)
	if err != nil {
		return err
	}
	if err := a.requireCapabilities(cmd, capNetRaw, capNetAdmin, capSysAdmin); err != nil {
		return err
	}
	topology, err := netinfo.Scan(cmd.Context(), a.host)
	if err != nil {
		return &probeFailed{err}
	}
	if policy == nil { // a line of a policy is told what is wrong with it
		if err := a.checkEnds(topology, requests[0]); err != nil {
			return err
		}
	}
	predict := probe.NewPredictor(topology).Predict
	prober, err := probe.Open(cmd.Context(), live.Config{Host: a.host, Also: probe.Namespaces(topology, predict, requests)},
		probe.Config{Timeout: time.Duration(f.timeout), Interval: interval, Count: f.count, Predict: predict})
	if errors.Is(err, os.ErrPermission) {
		return a.notPermitted(cmd, err)
	}
	if err != nil {
		return &probeFailed{err}
	}
	tell := a.tellProbe(f)
	if policy != nil {
		tell = a.tellPolicy(f, policy)
	}
	return a.runProbes(cmd.Context(), f, prober, requests, tell)
}

// interval is the time between the beginnings of two probes.
const interval = 200 * time.Millisecond

// questions reads what is asked for: one probe, or a policy.
func (a *app) questions(f *probeFlags, args []string) ([]probe.Rule, []probe.Request, error) {
	if f.file == "" {
		if len(args) != 2 {
			return nil, nil, usagef("probe: takes FROM and TO[:PORT], as in natlens probe back database:5432")
		}
		r, err := probe.Parse(args[0], args[1], f.udp)
		if err != nil {
			return nil, nil, usagef("probe: %w", err)
		}
		return nil, []probe.Request{r}, nil
	}
	if len(args) > 0 {
		return nil, nil, usagef("probe: with --file the questions are in the file, got %q", args[0])
	}
	in := a.stdin
	if f.file != "-" {
		file, err := os.Open(f.file)
		if err != nil {
			return nil, nil, fmt.Errorf("read policy: %w", err)
		}
		defer file.Close()
		in = file
	}
	policy, err := probe.ReadPolicy(in)
	if err != nil {
		return nil, nil, usagef("%s: %w", f.file, err)
	}
	requests := make([]probe.Request, len(policy))
	for i, rule := range policy {
		requests[i] = rule.Request
	}
	return policy, requests, nil
}

// checkEnds refuses a FROM that names nothing, with the names most like it, and what
// can't be FROM or TO.
func (a *app) checkEnds(t *netinfo.Topology, r probe.Request) error {
	from, err := probe.FindSource(t, r.From)
	var unknown *explain.UnknownTarget
	switch {
	case errors.As(err, &unknown):
		return usagef("probe: %w%s", unknown, a.suggestion(t, unknown))
	case err != nil:
		return usagef("probe: %w", err)
	}
	var other *probe.NotATarget
	if _, _, err := probe.FindDestination(t, from, r.To); errors.As(err, &other) {
		return usagef("probe: %w", other)
	}
	return nil
}

// teller shows outcomes; done returns what the status has to be.
type teller struct {
	outcome func(*probe.Outcome) error
	done    func() error
}

func (a *app) runProbes(ctx context.Context, f *probeFlags, prober *probe.Prober, requests []probe.Request, tell teller) error {
	run := prober.Run
	if f.dryRun {
		run = prober.Predict
	}
	if err := run(ctx, requests, tell.outcome); err != nil {
		return &probeFailed{err}
	}
	if f.json && !f.dryRun {
		n := prober.Summary()
		line, err := jsonl.Summary(n.Counters, 0, n.Duration.Round(time.Millisecond))
		if err != nil {
			return err
		}
		if _, err := a.stdout.Write(line); err != nil {
			return err
		}
	}
	return tell.done()
}

// tellProbe shows each outcome in full.
func (a *app) tellProbe(f *probeFlags) teller {
	worst := statusDone
	first := true
	style := a.style()
	var tally text.Tally
	return teller{
		outcome: func(o *probe.Outcome) error {
			worst = max(worst, statusOf(o, f.dryRun))
			tally.Add(o)
			if f.json {
				return a.writeOutcome(o)
			}
			words := style.Probe(text.Detail{Verbose: f.verbose}, o, time.Duration(f.timeout))
			switch {
			case f.dryRun:
				words = style.Prediction(text.Detail{Verbose: f.verbose}, o)
			case !first:
				words = "\n" + words
			}
			first = false
			_, err := fmt.Fprint(a.stdout, words)
			return err
		},
		done: func() error {
			if f.count > 1 && !f.dryRun {
				fmt.Fprint(a.stderr, style.Tally(&tally))
			}
			return withStatus(worst)
		},
	}
}

// tellPolicy shows a line for each rule of the policy.
func (a *app) tellPolicy(f *probeFlags, policy []probe.Rule) teller {
	next, right, failed := 0, 0, 0
	style := a.style()
	return teller{
		outcome: func(o *probe.Outcome) error {
			rule := policy[next]
			next++
			holds := rule.Holds(o)
			switch {
			case holds:
				right++
			case o.Failed != nil && !probe.NotHere(o.Failed):
				failed++
			}
			if f.json {
				return a.writeOutcome(o)
			}
			at := fmt.Sprintf("%s:%d", f.file, rule.Line)
			_, err := fmt.Fprint(a.stdout, style.PolicyLine(at, rule, o, f.verbose, time.Duration(f.timeout)))
			return err
		},
		done: func() error {
			fmt.Fprintf(a.stderr, "%d of %d as they should be\n", right, len(policy))
			switch {
			case failed > 0:
				return withStatus(statusProbeFailed)
			case right < len(policy):
				return withStatus(statusFailed)
			}
			return nil
		},
	}
}

func statusOf(o *probe.Outcome, dryRun bool) int {
	switch {
	case o.Failed != nil:
		return statusProbeFailed
	case dryRun && o.Expected != nil && o.Expected.Result == probe.Reached && o.Expected.Unsure == "":
		return statusDone
	case !dryRun && o.Result == probe.Reached:
		return statusDone
	}
	return statusFailed
}

func withStatus(status int) error {
	if status == statusDone {
		return nil
	}
	return exitStatus(status)
}

// writeOutcome writes a probe's journeys, then the probe.
func (a *app) writeOutcome(o *probe.Outcome) error {
	for _, j := range slices.Concat(o.Journeys.There, o.Journeys.Back) {
		line, err := jsonl.Journey(j)
		if err != nil {
			return err
		}
		if _, err := a.stdout.Write(line); err != nil {
			return err
		}
	}
	line, err := jsonl.Probe(o)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(line)
	return err
}
