package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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

// splitFiles tells files from the filter: what stands before a --, else the first
// word and those after it that name files, or look as if they did.
func splitFiles(args []string, dash int) (paths []string, expression string) {
	n := 1
	for n < len(args) && (isFile(args[n]) || looksLikeFile(args[n])) {
		n++
	}
	if dash > 0 {
		n = dash
	}
	return args[:n], strings.Join(args[n:], " ")
}

func isFile(word string) bool {
	info, err := os.Stat(word)
	return word == "-" || err == nil && !info.IsDir()
}

// captureEndings are what names of capture files end with.
var captureEndings = []string{".pcap", ".pcapng", ".cap", ".dmp", ".gz", ".xz", ".zst", ".bz2"}

// looksLikeFile reports whether a word is no word of a filter, whether or not there is
// a file of that name. A whole filter may be one word for the shell.
func looksLikeFile(word string) bool {
	if slices.Contains(captureEndings, strings.ToLower(filepath.Ext(word))) {
		return true
	}
	if _, err := netip.ParsePrefix(word); err == nil {
		return false
	}
	begin, _, hasSlash := strings.Cut(filepath.ToSlash(word), "/")
	return hasSlash && !strings.ContainsAny(begin, " ([!")
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

// openFiles opens what paths name; - is standard input. A file that is named twice is
// opened once, which is said.
func (a *app) openFiles(paths []string) (files []record.File, closeAll func(), err error) {
	var opened []io.Closer
	var infos []os.FileInfo // of files
	closeAll = func() {
		for _, f := range opened {
			_ = f.Close() // it was only read
		}
	}
	for i, path := range paths {
		in := a.stdin
		if path == "-" {
			if slices.Contains(paths[:i], "-") {
				closeAll()
				return nil, nil, usagef("standard input can be read once only")
			}
		} else {
			if in, err = os.Open(path); err != nil {
				closeAll()
				return nil, nil, fmt.Errorf("read: %w", err)
			}
			opened = append(opened, in)
		}
		info, err := in.Stat()
		if err != nil || info.IsDir() {
			closeAll()
			return nil, nil, fmt.Errorf("read %s: %w", nameOf(path), cmp.Or(err, errDirectory))
		}
		if same := slices.IndexFunc(infos, func(o os.FileInfo) bool { return os.SameFile(o, info) }); same >= 0 {
			fmt.Fprintln(a.stderr, a.style().Escape(fmt.Sprintf("%s is %s again, and is read once", nameOf(path), files[same].Name)))
			continue
		}
		infos = append(infos, info)
		files = append(files, record.File{Name: nameOf(path), In: in})
	}
	return files, closeAll, nil
}

var errDirectory = errors.New("it is a directory")

// awaitAfter is for how long a pipe may hold nothing before that is said.
const awaitAfter = 3 * time.Second

// sayAwaited says which pipes nothing has come from after a while, until it is told that
// all have begun: nothing can be shown before.
func (a *app) sayAwaited(files []record.File) (begun func()) {
	var awaited []*awaitedPipe
	for i, f := range files {
		file, ok := f.In.(*os.File)
		if info, err := file.Stat(); ok && err == nil && !info.Mode().IsRegular() {
			w := &awaitedPipe{File: file, name: f.Name}
			files[i].In, awaited = w, append(awaited, w)
		}
	}
	timer := time.AfterFunc(awaitAfter, func() {
		for _, w := range awaited {
			if !w.begun.Load() {
				fmt.Fprintln(a.stderr, a.style().Escape("nothing has come from "+w.name+" yet; waiting for it"))
			}
		}
	})
	return func() { timer.Stop() }
}

// awaitedPipe notes that something has come.
type awaitedPipe struct {
	*os.File
	name  string
	begun atomic.Bool
}

func (w *awaitedPipe) Read(b []byte) (int, error) {
	n, err := w.File.Read(b)
	w.begun.Store(true)
	return n, err
}

// nameOf is how people are told of a file.
func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
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
