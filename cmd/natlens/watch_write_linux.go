package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"natlens/capture"
	"natlens/internal/live"
	"natlens/internal/record"
)

// writeFlags are those of watch that are about files. Letters are tcpdump's.
type writeFlags struct {
	path  string
	print bool
	size  string
	every string
	keep  int

	bytes    int64
	interval time.Duration
}

func (f *writeFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.path, "write", "w", "", "write packets to `FILE` as pcapng; - is standard output")
	flags.BoolVar(&f.print, "print", false, "with -w: show packets, too")
	flags.StringVarP(&f.size, "rotate-size", "C", "", "with -w: a new file after so many bytes (`SIZE`: 100MB, 2GB)")
	flags.StringVarP(&f.every, "rotate-time", "G", "", "with -w: a new file after so much `TIME` (60s, 1h)")
	flags.IntVarP(&f.keep, "rotate-keep", "W", 0, "with -C or -G: keep the last `N` files only")
}

// checkWrite refuses what makes no sense, before anything is opened.
func (a *app) checkWrite(f *watchFlags) (err error) {
	w := &f.write
	rotate := w.size != "" || w.every != ""
	switch {
	case w.path == "" && (rotate || w.print || w.keep != 0):
		return usagef("--print and -C, -G, -W go with -w")
	case w.keep > 0 && !rotate:
		return usagef("-W goes with -C or -G")
	case w.path == "-" && (f.json || w.print):
		return usagef("-w - and what is shown can't both go to standard output")
	case w.path == "-" && rotate:
		return usagef("-C and -G go with a file, not with -w -")
	case rotate && strings.Contains(w.path, "%"):
		return usagef("files of -C and -G are numbered, as in back_00001.pcapng: no %%H or the like in -w %s", w.path)
	case w.path == "-" && a.terminal.interactive:
		return usagef("-w - writes bytes that are not for a terminal; send them to a file or a program: … | wireshark -k -i -")
	}
	if w.path != "" && f.snaplen == 0 {
		f.snaplen = capture.MaxSnaplen
	}
	if w.bytes, err = parseSize(w.size); err != nil {
		return err
	}
	w.interval, err = parseInterval(w.every)
	return err
}

// parseSize reads "100MB". A number by itself is millions of bytes, as for
// tcpdump.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	digits := strings.TrimRight(s, "kKMGiBb")
	unit, known := map[string]int64{
		"": 1e6, "B": 1, "kB": 1e3, "KB": 1e3, "k": 1e3, "K": 1e3, "MB": 1e6, "M": 1e6, "GB": 1e9, "G": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	}[s[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || !known || n <= 0 {
		return 0, usagef("-C takes a size like 100MB, not %q", s)
	}
	return n * unit, nil
}

// parseInterval reads "1h". A number by itself is seconds, as for tcpdump.
func parseInterval(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if n, bare := strconv.ParseInt(s, 10, 32); bare == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return 0, usagef("-G takes a time like 60s or 1h, not %q", s)
	}
	return d, nil
}

// record makes the session write what is picked, and returns the screen that
// goes with it.
func (a *app) record(f *watchFlags, session *live.Session, follow *live.Follow, shown screen, expression string) (screen, error) {
	config := record.Config{
		Open: a.captures(&f.write), Size: f.write.bytes, Every: f.write.interval, Snaplen: f.snaplen, Limit: f.count,
		Filter: f.filterInWords(expression), Leave: follow.Own.Hides,
		Application: application(), OS: kernel(), Host: hostname(),
	}
	if config.Others = config.Filter == ""; !config.Others {
		config.Match = follow.Match
	}
	tape, err := record.NewTape(config)
	if err != nil {
		return nil, err
	}
	session.Record(tape)
	if f.write.print || f.json {
		return shown, nil
	}
	return silentScreen{shown}, nil
}

// filterInWords is what picks packets, as it was typed.
func (f *watchFlags) filterInWords(expression string) string {
	var words []string
	for _, l := range f.links {
		words = append(words, "-i "+l)
	}
	for _, c := range f.containers {
		words = append(words, "--container "+c)
	}
	if expression != "" {
		words = append(words, expression)
	}
	return strings.Join(words, " ")
}

// application says what wrote a file.
func application() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return versionLine(info)
	}
	return "natlens"
}

// kernel says on what a file was captured, as uname(1) does.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "Linux"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// hostname is what the host calls itself; empty when it doesn't say.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
