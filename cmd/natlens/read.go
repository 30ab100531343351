package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"natlens/internal/live"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/trace"
)

func newReadCommand(a *app) *cobra.Command {
	f := &readFlags{}
	cmd := &cobra.Command{
		Use:   "read FILE... [FILTER]",
		Short: "Shows the packets of capture files, before and after NAT",
		Long: "Shows what natlens watch -w wrote just as it was shown then, with names, rules and\n" +
			"conntrack entries: all of it is in the file. It needs no privileges.\n\n" +
			"It reads what tcpdump, dumpcap and tshark write, too, pcap or pcapng: one file of\n" +
			"all links (tcpdump -i any), or several of different links or hosts, which are\n" +
			"merged by time. A packet that went from one host to another, with a file of each,\n" +
			"is one journey, too. Nothing in other programs' files tells what NAT did; natlens\n" +
			"infers it from packets that are alike, and says inferred. - is standard input.\n\n" +
			"FILTER is that of natlens watch. It begins with the first word that is no file, or\n" +
			"behind --. Of a file that a watch with a filter wrote, it picks among what that\n" +
			"picked; with --all also among the packets that are there for those to be judged.",
		Example: "  natlens read incident.pcapng\n" +
			"  natlens read incident_*.pcapng tcp port 8000\n" +
			"  ssh host sudo tcpdump -i any -U -w - | natlens read -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("needs a FILE to read; - is standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			paths, expression := splitFiles(args, cmd.ArgsLenAtDash())
			return a.read(cmd, f, paths, expression)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	f.pickFlags(flags)
	f.viewFlags(cmd)
	flags.IntVarP(&f.count, "count", "c", 0, "end after so many packets (`N`)")
	flags.BoolVarP(&f.json, "json", "j", false, "JSON Lines on standard output")
	flags.BoolVar(&f.all, "all", false, "also what the filter of the watch did not pick, as far as the file has it")
	flags.BoolVar(&f.events, "events", false, "also what came and went, who asked for MAC addresses, who listened to groups")
	return cmd
}

// readFlags are the flags of read.
type readFlags struct {
	showFlags
	all bool
}

func (a *app) read(cmd *cobra.Command, f *readFlags, paths []string, expression string) error {
	if err := aboveZero(cmd, map[string]int{"count": f.count}); err != nil {
		return err
	}
	files, closeFiles, err := a.openFiles(paths)
	if err != nil {
		return err
	}
	defer closeFiles()
	said := a.sayAwaited(files)
	recording, err := record.Open(files)
	said()
	if err != nil {
		return fmt.Errorf("read %w", err)
	}
	pick, err := parseFilter(expression, recording.Topology())
	if err != nil {
		return err
	}
	if !f.all {
		for _, sentence := range picked(files, recording.Filters()) {
			fmt.Fprintln(a.stderr, a.style().Escape(sentence))
		}
	}
	f.known = &known{}
	follow := a.follow(&f.showFlags, pick, recording.Topology())
	err = a.play(cmd.Context(), recording, record.Listener{All: f.all, Topology: f.known.add}, follow, a.newScreen(f.json, f.detail, !f.noNames))
	if recording.Topology() != nil && !errors.Is(err, errOutputClosed) {
		for _, sentence := range f.known.missing(&f.showFlags, pick) {
			fmt.Fprintln(a.stderr, a.style().Escape(sentence))
		}
	}
	return err
}

// play shows what is in a recording, then the summary.
func (a *app) play(ctx context.Context, recording *record.Recording, to record.Listener, follow *live.Follow, screen screen) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	records := make(chan live.Record, 64)
	var account record.Account
	ended := make(chan error, 1)
	go func() {
		defer close(records)
		var err error
		to.Journey = func(j *trace.Journey) { records <- live.Record{Journey: j} }
		to.ARP = func(seen trace.ARP) { records <- live.Record{ARP: &seen} }
		to.Change = func(c netinfo.Change, at time.Time) { records <- live.Record{Change: &c, At: at} }
		to.Warning = func(sentence string) { records <- live.Record{Warning: sentence} }
		account, err = recording.Play(ctx, trace.DefaultOpen, to)
		ended <- err
	}()
	err := follow.Run(records, screen, stop)
	errRead := <-ended
	switch {
	case errors.Is(err, errOutputClosed):
		return err
	case errRead != nil && ctx.Err() == nil:
		err = errors.Join(err, fmt.Errorf("read %w", errRead))
	}
	return errors.Join(err, screen.Summary(live.Summary{Counters: account.Counters, Duration: time.Duration(account.End - account.Start)}, follow))
}

// picked has a sentence for each filter of a watch, with the files that have only what it
// picked.
func picked(files []record.File, filters map[string]string) (sentences []string) {
	names := map[string][]string{}
	for _, f := range files {
		if filter := filters[f.Name]; filter != "" {
			names[filter] = append(names[filter], f.Name)
		}
	}
	for _, f := range files {
		filter := filters[f.Name]
		switch of := names[filter]; {
		case len(of) == 1:
			sentences = append(sentences, fmt.Sprintf("%s has what its watch picked: %s", of[0], filter))
		case len(of) > 1:
			sentences = append(sentences, fmt.Sprintf("%s and %d more have what their watch picked: %s", of[0], len(of)-1, filter))
		}
		delete(names, filter)
	}
	return sentences
}
