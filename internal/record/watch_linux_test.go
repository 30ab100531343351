package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
	"natlens/internal/leak"
	"natlens/internal/live"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/trace"
)

// watch records what play does on the host of the first scenario.
func watch(t *testing.T, config record.Config, play func(context.Context, *lab.Host)) recorded {
	t.Helper()
	return watchChanges(t, config, func(ctx context.Context, h *lab.Host, _ <-chan netinfo.Change) { play(ctx, h) })
}

// watchChanges is watch for a play that waits until natlens has noticed what it did.
func watchChanges(t *testing.T, config record.Config, play func(context.Context, *lab.Host, <-chan netinfo.Change)) recorded {
	t.Helper()
	h := labtest.NewHost(t)
	scenario := lab.Scenarios()[0]
	must(t, scenario.Build(h))
	var r recorded
	dir := t.TempDir()
	if config.Open == nil {
		config.Open = func(part int) (io.WriteCloser, error) {
			r.paths = append(r.paths, filepath.Join(dir, fmt.Sprintf("%05d.pcapng", part)))
			return os.Create(r.paths[part])
		}
	}
	config.Snaplen, config.Application = capture.MaxSnaplen, "natlens test"
	tape, err := record.NewTape(config)
	must(t, err)
	session, err := live.Open(t.Context(), live.Config{Host: netinfo.Options{NoEngine: true}, Snaplen: capture.MaxSnaplen})
	must(t, err)
	session.Record(tape)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	records := make(chan live.Record, 1<<14)
	ended := make(chan error, 1)
	changes := make(chan netinfo.Change, 1<<10)
	go func() { ended <- session.Run(ctx, records) }()
	go func() {
		play(ctx, h, changes)
		time.Sleep(200 * time.Millisecond) // the last packets are on their way
		stop()
	}()
	for one := range records {
		if one.ARP != nil {
			r.arp++
		}
		if one.Change != nil {
			select {
			case changes <- *one.Change:
			default: // nobody waits for those
			}
		}
		if one.Journey != nil {
			r.journeys = append(r.journeys, asJSON(t, one.Journey))
			for i := range one.Journey.Hops {
				if one.Journey.Hops[i].Packet != nil {
					t.Error("a screen is given the bytes of whole packets")
				}
			}
		}
	}
	must(t, <-ended)
	r.counters = session.Summary().Counters
	return r
}

func scenario(t *testing.T) func(context.Context, *lab.Host) {
	return func(ctx context.Context, h *lab.Host) {
		if err := lab.Scenarios()[0].Play(ctx, h); err != nil {
			t.Error(err)
		}
	}
}

func TestReadShowsWhatWatchShowed(t *testing.T) {
	r := watch(t, record.Config{Others: true}, scenario(t))
	if len(r.journeys) < 10 || len(r.paths) != 1 {
		t.Fatalf("%d journeys in %d files", len(r.journeys), len(r.paths))
	}
	r.same(t, play(t, r.paths...))
	rules := 0
	for _, j := range r.journeys {
		if translations, ok := j["translations"].([]any); ok {
			for _, tr := range translations {
				if tr.(map[string]any)["rule"] != nil {
					rules++
				}
			}
		}
	}
	if rules == 0 {
		t.Error("no journey names a rule: the test shows less than it should")
	}
	if *update {
		tape, err := os.ReadFile(r.paths[0])
		must(t, err)
		shown, err := json.MarshalIndent(r.journeys, "", " ")
		must(t, err)
		must(t, errors.Join(os.WriteFile(keptTape, tape, 0o644), os.WriteFile(keptShown, shown, 0o644)))
	}
}

func TestWiresharkReadsARecordedWatch(t *testing.T) {
	r := watch(t, record.Config{Others: true}, scenario(t))
	said := tshark(t, "capinfos", r.paths[0])
	for _, want := range []string{"Name = back/eth0", "Name = host/docker0", "Number of stat entries = 1", "Capture application: natlens test"} {
		if !strings.Contains(said, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, said)
		}
	}
	lines := strings.Split(strings.TrimSpace(tshark(t, "tshark", "-r", r.paths[0], "-n", "-Y", "icmp.type==8 && icmp.seq==1", "-T", "fields", "-E", "aggregator=&",
		"-e", "frame.interface_name", "-e", "frame.packet_id", "-e", "ip.src", "-e", "frame.comment")), "\n")
	if len(lines) != 4 {
		t.Fatalf("the first request has %d packets, want 4:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	ids := map[string]bool{}
	for i, line := range lines {
		f := strings.Split(line, "\t")
		ids[f[1]] = true
		if want := fmt.Sprintf("journey %s, hop %d of 4", f[1], i+1); !strings.HasPrefix(f[3], want) {
			t.Errorf("comment %q, want %q", f[3], want)
		}
	}
	if len(ids) != 1 {
		t.Errorf("packet ids %v", ids)
	}
	if f := strings.Split(lines[2], "\t"); !strings.Contains(f[3], "next: source 172.17.0.2 id 20044 becomes 192.0.2.10 id 20044 (MASQUERADE, conntrack ") ||
		!strings.Contains(f[3], "&rule: ") {
		t.Errorf("comment at docker0: %q", f[3])
	}
	if f := strings.Split(lines[3], "\t"); !strings.HasSuffix(f[3], "; left by eth0") || f[2] != lab.HostAddress.String() {
		t.Errorf("last hop: %q", f)
	}
	// Each packet stands there once.
	var read int
	for _, n := range []uint64{r.counters.Observations} {
		read = int(n)
	}
	if n := strings.Count(tshark(t, "tshark", "-r", r.paths[0], "-n", "-T", "fields", "-e", "frame.number"), "\n"); n != read {
		t.Errorf("%d packets in the file, %d were seen", n, read)
	}
}

func TestFilesOfARotationContinueAndStandAlone(t *testing.T) {
	r := watch(t, record.Config{Others: true, Size: 6_000}, func(ctx context.Context, h *lab.Host) {
		scenario(t)(ctx, h)
		for seq := range uint16(60) {
			if _, err := lab.Ping(ctx, h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 9, Seq: seq, Payload: make([]byte, 400)}); err != nil {
				t.Error(err)
				return
			}
			if seq%10 == 9 {
				time.Sleep(100 * time.Millisecond) // a file ends between two looks at the rings
			}
		}
	})
	if len(r.paths) < 4 {
		t.Fatalf("%d files", len(r.paths))
	}
	r.same(t, play(t, r.paths...))
	// In any order, too.
	shuffled := append([]string{r.paths[2], r.paths[0]}, r.paths[3:]...)
	r.same(t, play(t, append(shuffled, r.paths[1])...))
	// What was one journey is whole in its file, and keeps its number.
	byID := map[any]map[string]any{}
	for _, j := range r.journeys {
		byID[j["id"]] = j
	}
	alone := 0
	for _, path := range r.paths {
		tshark(t, "capinfos", path)
		for _, j := range play(t, path).journeys {
			alone++
			want := byID[j["id"]]
			if want == nil || cmp.Diff(want["hops"], j["hops"]) != "" || !translatedAlike(want["translations"], j["translations"]) {
				t.Errorf("%s: journey %v is not the one that was shown\n%s", filepath.Base(path), j["id"], cmp.Diff(want, j))
			}
		}
	}
	if alone != len(r.journeys) {
		t.Errorf("%d journeys in single files, want %d", alone, len(r.journeys))
	}
}

// translatedAlike reports whether a file alone says of a journey's translations what was
// shown. A rule's counter is compared with that of the reading before, and with the
// packets since, which the file before may have: then the rule is evaluated only.
func translatedAlike(shown, alone any) bool {
	a, _ := shown.([]any)
	b, _ := alone.([]any)
	return slices.EqualFunc(a, b, func(shown, alone any) bool {
		a, b := shown.(map[string]any), alone.(map[string]any)
		was, _ := a["rule"].(map[string]any)
		is, _ := b["rule"].(map[string]any)
		if was != nil && is != nil && was["evidence"] == "counter" && is["evidence"] == "evaluated" {
			was, a = maps.Clone(was), maps.Clone(a)
			was["evidence"], a["rule"] = "evaluated", was
		}
		return cmp.Equal(a, b)
	})
}

// What a filter picks reads as it was shown, though it rests on packets that the filter
// does not pick; those are in the file, and marked, and others are not.
func TestWhatMatchesReadsTheSame(t *testing.T) {
	answers := func(j *trace.Journey) bool { return j.Protocol == 1 && j.Direction == trace.Reply }
	r := watch(t, record.Config{Match: answers, Filter: "icmp replies"}, scenario(t))
	var want []map[string]any
	for _, j := range r.journeys {
		if j["protocol"] == "icmp" && j["direction"] == "reply" {
			want = append(want, j)
		}
	}
	if diff := cmp.Diff(want, play(t, r.paths...).journeys); len(want) != 2 || diff != "" {
		t.Errorf("%d journeys; -live +read\n%s", len(want), diff)
	}
	f, err := os.Open(r.paths[0])
	must(t, err)
	defer f.Close()
	recording, err := record.Open([]record.File{{Name: "tape", In: f}})
	must(t, err)
	protocols := map[packet.Protocol]int{}
	_, err = recording.Play(t.Context(), trace.DefaultOpen, record.Listener{All: true, Journey: func(j *trace.Journey) { protocols[j.Protocol]++ }})
	must(t, err)
	if filters := recording.Filters(); protocols[packet.ICMP] != 4 || protocols[packet.TCP] != 0 || filters["tape"] != "icmp replies" {
		t.Errorf("%v are in the file, picked by %q", protocols, filters)
	}
	out := tshark(t, "tshark", "-r", r.paths[0], "-n", "-Y", "icmp.type == 8", "-T", "fields", "-e", "frame.comment")
	if n := strings.Count(out, "not picked by the filter; journey "); n == 0 || n != strings.Count(out, "\n") {
		t.Errorf("%d of the requests are marked:\n%s", n, out)
	}
}

func TestABrokenTapeIsPlayedToTheBreak(t *testing.T) {
	r := watch(t, record.Config{Others: true}, scenario(t))
	whole, err := os.ReadFile(r.paths[0])
	must(t, err)
	last := 0
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/97 {
		var journeys int
		recording, err := record.Open([]record.File{{Name: "cut", In: bytes.NewReader(whole[:cut])}})
		if err == nil {
			_, err = recording.Play(t.Context(), 1024, record.Listener{Journey: func(*trace.Journey) { journeys++ }})
		}
		if err != nil && !strings.Contains(err.Error(), "cut: broken at byte ") {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if journeys < last {
			t.Errorf("cut at %d: %d journeys, %d before", cut, journeys, last)
		}
		last = journeys
	}
	if last < 10 {
		t.Errorf("%d journeys in the longest part", last)
	}
}

// Pieces, segments that are split, refusals, answers that never come, and what is
// older than the watch must come back as they were, too.
func TestHarderTrafficReadsTheSame(t *testing.T) {
	r := watch(t, record.Config{Others: true}, func(ctx context.Context, h *lab.Host) {
		back, database := h.Find("back"), h.Find("database")
		echo, err := lab.EchoUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, dnsPort))
		if err != nil {
			t.Error(err)
			return
		}
		defer echo.Close()
		web, err := lab.ServeHTTP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 80), strings.Repeat("many segments ", 40_000))
		if err != nil {
			t.Error(err)
			return
		}
		defer web.Close()
		c, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, dnsPort))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		unanswered, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		_, _ = lab.Ping(unanswered, back.Namespace(), netip.MustParseAddr("172.17.0.99"), lab.Echo{ID: 3, Seq: 1})
		for n := range 20 {
			_, errBig := lab.Exchange(ctx, c, bytes.Repeat([]byte{byte(n)}, 5000))
			_, errSmall := lab.Exchange(ctx, c, []byte("the same again"))
			_, errGet := lab.Get(ctx, back.Namespace(), netip.AddrPortFrom(lab.ServerAddress, 80))
			_, _ = lab.Get(ctx, database.Namespace(), netip.AddrPortFrom(lab.HostAddress, 8000)) // nobody listens: refused
			_, errPing := lab.Ping(ctx, database.Namespace(), lab.ServerAddress, lab.Echo{ID: 5, Seq: uint16(n), Payload: make([]byte, 3000)})
			if err := errors.Join(errBig, errSmall, errGet, errPing); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if len(r.journeys) < 300 {
		t.Fatalf("%d journeys", len(r.journeys))
	}
	r.same(t, play(t, r.paths...))
}

// full is a file on a disk without room for more than what a file begins with.
type full struct {
	writes int
	closed bool
}

var errFull = errors.New("no space left")

func (f *full) Write(b []byte) (int, error) {
	if f.writes++; f.writes > 1 {
		return 0, errFull
	}
	return len(b), nil
}

func (f *full) Close() error {
	f.closed = true
	return nil
}

// What can't be written ends the watch, which leaves nothing behind.
func TestAFullDiskEndsTheWatch(t *testing.T) {
	leak.Check(t)
	h := labtest.NewHost(t)
	must(t, lab.Scenarios()[0].Build(h))
	var file full
	tape, err := record.NewTape(record.Config{Open: func(int) (io.WriteCloser, error) { return &file, nil }})
	must(t, err)
	session, err := live.Open(t.Context(), live.Config{Host: netinfo.Options{NoEngine: true}})
	must(t, err)
	session.Record(tape)
	records := make(chan live.Record, 1<<14)
	ended := make(chan error, 1)
	go func() { ended <- session.Run(t.Context(), records) }()
	scenario(t)(t.Context(), h)
	for range records { // until Run closes it
	}
	if err := <-ended; !errors.Is(err, errFull) {
		t.Errorf("the watch ended with %v", err)
	}
	if !file.closed {
		t.Error("the file was left open")
	}
}

// Wireshark's programs cut, sort and merge what natlens wrote, and natlens reads what
// they make of it.
func TestWiresharkRewritesARecordedWatch(t *testing.T) {
	r := watch(t, record.Config{Others: true}, scenario(t))
	packets := strings.Count(tshark(t, "tshark", "-r", r.paths[0], "-n", "-T", "fields", "-e", "frame.number"), "\n")
	for program, args := range map[string]func(to string) []string{
		"editcap":    func(to string) []string { return []string{r.paths[0], to} },
		"reordercap": func(to string) []string { return []string{r.paths[0], to} },
		"mergecap":   func(to string) []string { return []string{"-w", to, r.paths[0], r.paths[0]} },
	} {
		t.Run(program, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "made.pcapng")
			tshark(t, program, args(to)...)
			want := packets
			if program == "mergecap" {
				want *= 2
			}
			out := tshark(t, "tshark", "-r", to, "-n", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment")
			if n := strings.Count(out, "\n"); n != want || !strings.Contains(out, "back/eth0\tjourney ") {
				t.Errorf("%d packets, want %d:\n%s", n, want, out)
			}
			f, err := os.Open(to)
			must(t, err)
			defer f.Close()
			recording, err := record.Open([]record.File{{Name: "made", In: f}})
			must(t, err)
			journeys := 0
			_, err = recording.Play(t.Context(), trace.DefaultOpen, record.Listener{Journey: func(*trace.Journey) { journeys++ }})
			must(t, err)
			if journeys < len(r.journeys) {
				t.Errorf("%d journeys, live %d", journeys, len(r.journeys))
			}
		})
	}
}
