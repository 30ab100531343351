package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/pcapng"
	"natlens/internal/record"
	"natlens/trace"
)

func TestFilesOfEarlierVersionsAreRead(t *testing.T) {
	shown, err := os.ReadFile(keptShown)
	must(t, err)
	var want recorded
	must(t, json.Unmarshal(shown, &want.journeys))
	if diff := cmp.Diff(want.journeys, play(t, keptTape).journeys); diff != "" {
		t.Errorf("-shown then +read now\n%s", diff)
	}
}

// Files of different days share nothing: each tells what it tells alone, and only the
// numbers are new.
func TestFilesThatShareNothing(t *testing.T) {
	const foreign = "testdata/any.pcap"
	alone := append(play(t, foreign).journeys, play(t, keptTape).journeys...)
	together := play(t, keptTape, foreign).journeys
	key := func(j map[string]any) string {
		kept := maps.Clone(j)
		delete(kept, "id")
		for _, r := range kept["related"].([]any) {
			delete(r.(map[string]any), "id")
		}
		line, err := json.Marshal(kept)
		must(t, err)
		return string(line)
	}
	var want, got []string
	for _, j := range alone {
		want = append(want, key(j))
	}
	ids := map[any]bool{}
	for _, j := range together {
		ids[j["id"]] = true
		got = append(got, key(j))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(ids) != len(together) {
		t.Errorf("%d numbers of %d journeys; -alone +together\n%s", len(ids), len(together), diff)
	}
}

func TestFilesThatCantBeRead(t *testing.T) {
	newer := local(t, 1, `{"Version":3}`)
	headless := local(t, 3, `{"Value":{}}`)
	garbled := local(t, 1, `{"Version":"one"}`)
	tape, err := os.ReadFile(keptTape)
	must(t, err)
	for name, test := range map[string]struct {
		files [][]byte
		says  string
	}{
		"newer":    {[][]byte{newer}, "0: written by a newer natlens (format 3, this one reads 2)"},
		"headless": {[][]byte{headless}, "0: the beginning of what natlens wrote is missing"},
		"garbled":  {[][]byte{garbled}, fmt.Sprintf("0: block before byte %d: natlens's block of kind 1: ", len(garbled))},
		"text":     {[][]byte{[]byte("hello, hello")}, "0: broken at byte 0: neither pcap nor pcapng"},
		"one bad":  {[][]byte{tape, newer}, "1: written by a newer"},
		"cut":      {[][]byte{tape[:len(tape)-5]}, "0: broken at byte "},
	} {
		t.Run(name, func(t *testing.T) {
			journeys, err := playBytes(t.Context(), test.files...)
			if err == nil || !strings.HasPrefix(err.Error(), test.says) {
				t.Errorf("error %v, want %s…", err, test.says)
			}
			if good := bytes.HasPrefix(test.files[0], tape[:100]); good != (journeys > 10) {
				t.Errorf("%d journeys", journeys)
			}
		})
	}
}

func TestPlayEndsWithItsContext(t *testing.T) {
	for _, path := range []string{keptTape, "testdata/any.pcap"} {
		file, err := os.ReadFile(path)
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if _, err := playBytes(ctx, file); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// local is a file with one block of natlens's.
func local(t testing.TB, kind uint32, data string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.Section{})
	if err == nil {
		err = errors.Join(w.Local(pcapng.Local{Kind: kind, Data: []byte(data)}), w.Flush())
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func playBytes(ctx context.Context, contents ...[]byte) (journeys int, err error) {
	var files []record.File
	for i, c := range contents {
		files = append(files, record.File{Name: string(rune('0' + i)), In: bytes.NewReader(c)})
	}
	recording, err := record.Open(files)
	if err != nil {
		return 0, err
	}
	_, err = recording.Play(ctx, 1024, record.Listener{Journey: func(*trace.Journey) { journeys++ }, ARP: func(trace.ARP) {}})
	return journeys, err
}

// Names and counters before the first packet are nobody's: a file can have any number
// of them.
func TestWhatStandsBeforePacketsIsNotKept(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.Section{})
	must(t, err)
	id, err := w.Interface(pcapng.Interface{LinkType: pcapng.LinkEthernet})
	must(t, err)
	const blocks = 100_000
	for range blocks {
		must(t, w.Statistics(&pcapng.Statistics{Interface: id, Comments: []string{"nothing"}}))
	}
	must(t, w.Packet(&pcapng.Packet{Interface: id, Data: make([]byte, 60)}))
	must(t, w.Flush())
	held := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := held()
	recording, err := record.Open([]record.File{{Name: "many", In: &file}})
	must(t, err)
	if grown := held() - before; grown > 1<<20 {
		t.Errorf("%d bytes are kept of %d blocks", grown, blocks)
	}
	account, err := recording.Play(t.Context(), 1024, record.Listener{Journey: func(*trace.Journey) {}, ARP: func(trace.ARP) {}})
	if err != nil || account.Observations != 1 {
		t.Errorf("%d packets, %v", account.Observations, err)
	}
}
