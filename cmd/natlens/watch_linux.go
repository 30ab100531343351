package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlens/internal/live"
	"natlens/netinfo"
)

// watchFlags are the flags of watch.
type watchFlags struct {
	showFlags
	snaplen       int
	duration      time.Duration
	allNamespaces bool
	own           bool
	trace         bool
	write         writeFlags
}

func newWatchCommand(a *app) *cobra.Command {
	f := &watchFlags{}
	cmd := &cobra.Command{
		Use:   "watch [FILTER]",
		Short: "Shows packets live, before and after NAT",
		Long: "Shows each packet once, with all the places where it was seen, what NAT made of\n" +
			"it there, the conntrack entry behind that, and how it ended. It only reads.\n\n" +
			"FILTER is as in pcap-filter(7): icmp, tcp, host, net, port, src, dst, and, or, not,\n" +
			"'tcp[tcpflags] & tcp-syn != 0', …; and of journeys: container NAME, network NAME,\n" +
			"link LINK, nat [KIND], verdict RESULT, flow ID. A bare word is a container, else a\n" +
			"host. It picks a packet when any of its hops matches, so that host 172.17.0.2 also\n" +
			"shows what that container's packets look like outside; not X leaves out a packet\n" +
			"that shows X at any hop. docs/filters.md has all of it.",
		Example: "  sudo natlens watch icmp\n" +
			"  sudo natlens watch back and tcp port 8000\n" +
			"  sudo natlens watch nat masquerade and not port 53\n" +
			"  sudo natlens watch -j -c 10 | jq .translations",
		ValidArgsFunction: completeFilter,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.watch(cmd, f, strings.Join(args, " ")) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.pickFlags(flags)
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("container", completeContainers))
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("interface", completeLinks))
	f.viewFlags(cmd)
	flags.IntVarP(&f.snaplen, "snaplen", "s", 0, "`BYTES` captured of each packet (default 128; with -w all)")
	flags.IntVarP(&f.count, "count", "c", 0, "end after so many packets (`N`)")
	flags.BoolVarP(&f.json, "json", "j", false, "JSON Lines on standard output")
	flags.DurationVar(&f.duration, "duration", 0, "end after this `TIME` (10s, 5m)")
	flags.BoolVar(&f.allNamespaces, "all-namespaces", false, "watch every network namespace of this host")
	flags.BoolVar(&f.events, "events", false, "also what comes and goes, who asks for MAC addresses, who listens to groups")
	flags.BoolVar(&f.own, "own", false, "also your own SSH session and engine connection")
	flags.BoolVar(&f.trace, "trace", false, "also which rules each packet meets, by the kernel's own trace; writes a table\nof its own in each namespace watched, gone when natlens ends")
	f.write.add(flags)
	return cmd
}

func (a *app) watch(cmd *cobra.Command, f *watchFlags, expression string) error {
	if err := aboveZero(cmd, map[string]int{"count": f.count, "snaplen": f.snaplen, "duration": int(f.duration)}); err != nil {
		return err
	}
	if cmd.Flags().Changed("write") && f.write.path == "" {
		return usagef("watch: -w needs a file's name; - is standard output")
	}
	if err := aboveZero(cmd, map[string]int{"rotate-keep": f.write.keep}); err != nil {
		return err
	}
	if err := a.checkWrite(f); err != nil {
		return err
	}
	if err := a.requireCapabilities(cmd, capNetRaw, capNetAdmin, capSysAdmin); err != nil {
		// A bad filter is said first: it would be wrong as root, too.
		if _, bad := parseFilter(expression, nil); bad != nil {
			return bad
		}
		return err
	}
	topology, err := netinfo.Scan(cmd.Context(), a.host)
	if err != nil {
		return beforeWatching(cmd.Context(), err)
	}
	pick, err := parseFilter(expression, topology)
	if err != nil {
		return err
	}
	session, err := live.Open(cmd.Context(), live.Config{
		Host:          a.host,
		AllNamespaces: f.allNamespaces, Snaplen: f.snaplen, Protocols: pick.Protocols(), Trace: f.trace, Restorer: []string{"/proc/self/exe", restorerName},
	})
	if errors.Is(err, os.ErrPermission) {
		return a.notPermitted(cmd, err)
	}
	if err != nil {
		return beforeWatching(cmd.Context(), err)
	}
	follow := a.follow(&f.showFlags, pick, session.Topology())
	if !f.own {
		follow.Own = live.OwnTraffic()
	}
	follow.Silent = func(since time.Duration) {
		fmt.Fprint(a.stderr, a.style().Quiet(since, session.Summary().Counters, follow.Shown))
	}
	screen := a.newScreen(f.json, f.detail, !f.noNames)
	if a.around != nil {
		screen = a.around(screen)
		follow.Silent = nil // whoever plays knows when nothing happens
	}
	if f.write.path != "" {
		if screen, err = a.record(f, session, follow, screen, expression); err != nil {
			return errors.Join(err, session.Close())
		}
	}
	watching := session.Watching()
	if a.meanwhile == nil || len(watching.LeftOut) > 0 { // what is played ends by itself
		fmt.Fprint(a.stderr, a.style().Watching(watching.Names, watching.Links, leftOut(watching.LeftOut)))
	}
	if f.trace {
		fmt.Fprint(a.stderr, a.style().Tracing(len(watching.Untraced) < len(watching.Names), slices.Concat(watching.Untraced, watching.Logged)))
	}
	for _, p := range watching.Partly {
		fmt.Fprintln(a.stderr, "translations are inferred in "+a.style().Escape(p))
	}
	return a.runSession(cmd.Context(), session, follow, screen, f.duration)
}

// beforeWatching is what err means while the watch has not begun: Ctrl-C ends it
// as cleanly then as later.
func beforeWatching(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// runSession shows what a session finds until ctx or duration ends, or what is
// played meanwhile has ended; then it prints the summary.
func (a *app) runSession(caller context.Context, session *live.Session, follow *live.Follow, screen screen, duration time.Duration) error {
	ctx, stop := context.WithCancel(caller)
	defer stop()
	if duration > 0 {
		time.AfterFunc(duration, stop)
	}
	played := make(chan error, 1)
	if a.meanwhile != nil {
		go func() { played <- a.meanwhile(ctx); stop() }()
	} else {
		played <- nil
	}
	records := make(chan live.Record, 1<<14)
	ended := make(chan error, 1)
	go func() { ended <- session.Run(ctx, records) }()
	err := follow.Run(records, screen, stop)
	stop()
	err = errors.Join(err, <-ended, <-played)
	if errors.Is(err, errOutputClosed) {
		return err
	}
	if caller.Err() != nil && a.onTerminal {
		fmt.Fprintln(a.stderr) // what Ctrl-C left there: ^C
	}
	return errors.Join(err, screen.Summary(session.Summary(), follow))
}

// leftOut names what could not be watched and why.
func leftOut(left []netinfo.LeftOut) (reasons []string) {
	for _, l := range left {
		reasons = append(reasons, l.Name+": "+l.Reason)
	}
	return reasons
}
