package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/pcapng"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// rotated is a watch in several parts.
func rotated(t *testing.T) *deck {
	t.Helper()
	d := newDeck(t, record.Config{Others: true, Every: 10 * time.Second})
	d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.Known, Flow: deckFlow(1, 1), After: d.now, Before: d.now}}})
	for n := range uint16(8) {
		d.pass(4*time.Second, true, d.datagram(1, 10+n), d.datagram(aside, 50+n))
	}
	d.tape.Flush()
	must(t, d.tape.Err())
	d.counters = d.tape.Counters()
	if len(d.paths) < 3 || len(d.journeys) != 16 {
		t.Fatalf("%d files, %d journeys", len(d.paths), len(d.journeys))
	}
	return d
}

// joined is what cat(1) makes of files.
func joined(t *testing.T, paths ...string) string {
	t.Helper()
	var all []byte
	for _, p := range paths {
		b, err := os.ReadFile(p)
		must(t, err)
		all = append(all, b...)
	}
	path := filepath.Join(t.TempDir(), "joined.pcapng")
	must(t, os.WriteFile(path, all, 0o600))
	return path
}

// foreignFile is a file of another program with datagrams to these ports, each by an
// interface of its own.
func foreignFile(t *testing.T, ports ...uint16) []byte {
	t.Helper()
	d := newDeck(t, record.Config{Others: true})
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.Section{})
	must(t, err)
	for n, port := range ports {
		id, err := w.Interface(pcapng.Interface{LinkType: pcapng.LinkEthernet, Name: fmt.Sprint("eth", n)})
		must(t, err)
		o := d.datagram(1, port)
		must(t, w.Packet(&pcapng.Packet{Interface: id, Time: o.Time, WireLength: o.WireLength, Data: o.Data}))
	}
	must(t, w.Flush())
	return file.Bytes()
}

// The parts of a watch in one file are read like files of their own, also beside files
// of others.
func TestPartsInOneFile(t *testing.T) {
	d := rotated(t)
	d.same(t, play(t, joined(t, d.paths...)))
	d.same(t, play(t, d.paths[len(d.paths)-1], joined(t, d.paths[:len(d.paths)-1]...)))
	apart := play(t, append(slices.Clone(d.paths), "testdata/any.pcap")...)
	apart.same(t, play(t, joined(t, d.paths...), "testdata/any.pcap"))
}

// What they tell beside packets is read, too.
func TestKnowledgeOfPartsInOneFile(t *testing.T) {
	d := rotated(t)
	tell := func(paths ...string) (told int, err error) {
		err = opened(t, paths...).Tell(t.Context(), record.Knowledge{
			Topology: func(*netinfo.Topology) { told++ }, Ruleset: func(*netfilter.Ruleset) { told++ }, Flows: func(*netfilter.Batch) { told++ },
		})
		return told, err
	}
	apart, err := tell(d.paths...)
	must(t, err)
	if n, err := tell(joined(t, d.paths...)); n != apart || n < 2*len(d.paths) || err != nil {
		t.Errorf("told %d times, apart %d; %v", n, apart, err)
	}
	if n, err := tell(joined(t, d.paths...), d.paths[1]); n != apart || err == nil {
		t.Errorf("with a copy told %d times, alone %d; %v", n, apart, err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.pcapng")
	must(t, os.WriteFile(foreign, foreignFile(t, 1), 0o600))
	if n, err := tell(joined(t, d.paths[0], foreign)); err == nil || !strings.Contains(err.Error(), "another capture begins at byte") {
		t.Errorf("told %d times with another program's behind: %v", n, err)
	}
}

func TestSectionsOfOtherPrograms(t *testing.T) {
	if n, err := playBytes(t.Context(), slices.Concat(foreignFile(t, 1, 2), foreignFile(t, 3, 4, 5), foreignFile(t), foreignFile(t, 6))); n != 6 || err != nil {
		t.Errorf("%d journeys, %v", n, err)
	}
}

// What does not belong to the capture that a file began with is not told as if it did,
// nor left out without a word.
func TestAFileOfSeveralCaptures(t *testing.T) {
	d := rotated(t)
	var parts [][]byte
	for _, p := range d.paths {
		b, err := os.ReadFile(p)
		must(t, err)
		parts = append(parts, b)
	}
	whole, other, foreign := slices.Concat(parts...), hostFile(t, 1, true), foreignFile(t, 1, 2)
	for name, test := range map[string]struct {
		first, second []byte
		journeys      int
	}{
		"a part again":          {whole, parts[0], 16},
		"the last part again":   {whole, parts[len(parts)-1], 16},
		"another watch":         {whole, other, 16},
		"another program's":     {whole, foreign, 16},
		"another program's two": {whole, slices.Concat(foreignFile(t), foreign), 16},
		"behind another's":      {foreign, whole, 2},
		"behind an empty one":   {foreignFile(t), whole, 0},
		"behind two of others":  {slices.Concat(foreign, foreignFile(t, 3)), whole, 3},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := playBytes(t.Context(), slices.Concat(test.first, test.second))
			at := len(test.first)
			want := fmt.Sprintf("0: another capture begins at byte %d and is left out: split the file there (head -c %[1]d, tail -c +%d)", at, at+1)
			if n != test.journeys || err == nil || err.Error() != want {
				t.Errorf("%d journeys, want %d; %v, want %s", n, test.journeys, err, want)
			}
		})
	}
	t.Run("a part beside", func(t *testing.T) {
		n, err := playBytes(t.Context(), whole, parts[1])
		if want := "1: what it has of the watch, 0 has too: one is a copy"; n != 16 || err == nil || err.Error() != want {
			t.Errorf("%d journeys, %v", n, err)
		}
	})
	t.Run("a part beside that continues", func(t *testing.T) {
		n, err := playBytes(t.Context(), slices.Concat(parts[:2]...), parts[1], slices.Concat(parts[2:]...))
		if n != 16 || err == nil || !strings.HasPrefix(err.Error(), "1: ") {
			t.Errorf("%d journeys, %v", n, err)
		}
	})
	t.Run("a part that is cut", func(t *testing.T) {
		for _, left := range []int{len(parts[0]) + 5, len(parts[0]) + len(parts[1]) - 5} {
			_, err := playBytes(t.Context(), whole[:left])
			var broken *pcapng.BreakError
			if !errors.As(err, &broken) || broken.Offset < int64(len(parts[0])) {
				t.Errorf("cut at byte %d: %v", left, err)
			}
		}
	})
	t.Run("nothing behind", func(t *testing.T) {
		if n, err := playBytes(t.Context(), slices.Concat(whole, foreignFile(t))); n != 16 || err != nil {
			t.Errorf("%d journeys, %v", n, err)
		}
	})
	t.Run("a part that is not there", func(t *testing.T) {
		file := slices.Concat(parts[0], parts[2])
		var said []string
		recording, err := record.Open([]record.File{{Name: "0", In: bytes.NewReader(file)}})
		must(t, err)
		_, err = recording.Play(t.Context(), 1024, record.Listener{Warning: func(s string) { said = append(said, s) }})
		must(t, err)
		if diff := cmp.Diff([]string{fmt.Sprintf("before byte %d of 0 files are missing", len(parts[0]))}, said); diff != "" {
			t.Error(diff)
		}
	})
}
