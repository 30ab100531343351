package record_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"natlens/capture/pcapng"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// atEnd is a file that tells when it was read to its end.
type atEnd struct {
	io.Reader
	ended func()
}

func (r atEnd) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err == io.EOF {
		r.ended()
	}
	return n, err
}

// manyNamespaces is a file with a host that has so many, and room for more blocks.
func manyNamespaces(t *testing.T, n int) (*bytes.Buffer, *pcapng.Writer) {
	t.Helper()
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`{"ID":%d,"Name":"n%d"}`, i+1, i))
	}
	file := &bytes.Buffer{}
	w, err := pcapng.NewWriter(file, pcapng.Section{})
	must(t, err)
	for kind, data := range []string{1: `{"Version":1,"Session":"a"}`, 2: `{}`, 3: `{"Value":{"Number":1,"Self":1,"Namespaces":[` + strings.Join(all, ",") + `]}}`} {
		if data != "" {
			must(t, w.Local(pcapng.Local{Kind: uint32(kind), Data: []byte(data)}))
		}
	}
	return file, w
}

// What waits for packets before it is kept as the file has it: a few bytes that change
// a large host are not a host each.
func TestChangesWaitAsTheyAreWritten(t *testing.T) {
	file, w := manyNamespaces(t, 5000)
	for range 100 {
		must(t, w.Local(pcapng.Local{Kind: 15, Data: []byte(`{"Kind":3,"Change":{"Fields":{}}}`)}))
	}
	must(t, w.Flush())
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before, waiting uint64
	recording, err := record.Open([]record.File{{Name: "tape", In: atEnd{file, func() { waiting = max(waiting, heap()) }}}})
	must(t, err)
	before = heap()
	told := 0
	_, err = recording.Play(t.Context(), 1024, record.Listener{Journey: func(*trace.Journey) {}, Topology: func(*netinfo.Topology) { told++ }})
	must(t, err)
	if grown := int64(waiting) - int64(before); grown > 8<<20 {
		t.Errorf("%d bytes wait, of a file of %d", grown, file.Cap())
	}
	if told != 101 {
		t.Errorf("the host is told %d times, want 101", told)
	}
}

// A change that can't be made breaks the file there, and nothing before it is lost.
func TestAChangeThatCantBeMade(t *testing.T) {
	file, w := manyNamespaces(t, 3)
	must(t, w.Local(pcapng.Local{Kind: 15, Data: []byte(`{"Kind":3,"Change":{"Fields":{"Number":{"Value":2}}}}`)}))
	must(t, w.Local(pcapng.Local{Kind: 15, Data: []byte(`{"Kind":3,"Change":{"Items":[{"At":7}]}}`)}))
	at := w.Written()
	must(t, w.Local(pcapng.Local{Kind: 8, Data: []byte(`{"Through":9}`)}))
	must(t, w.Local(pcapng.Local{Kind: 15, Data: []byte(`{"Kind":3,"Change":{"Fields":{"Number":{"Value":3}}}}`)}))
	must(t, w.Flush())
	recording, err := record.Open([]record.File{{Name: "tape", In: file}})
	must(t, err)
	var told []uint64
	_, err = recording.Play(t.Context(), 1024, record.Listener{Journey: func(*trace.Journey) {}, Topology: func(n *netinfo.Topology) { told = append(told, n.Number) }})
	if want := fmt.Sprintf("tape: block before byte %d: a change of what is not there", at); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if fmt.Sprint(told) != "[1 2]" {
		t.Errorf("told of the hosts %v, want 1 and 2", told)
	}
}

// A file says that who can't make changes, or does not know what was picked, must not
// read it.
func TestTheVersionThatIsWritten(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	d.tape.Flush()
	must(t, d.tape.Err())
	f, err := os.Open(d.paths[0])
	must(t, err)
	defer f.Close()
	r, err := pcapng.NewReader(f)
	must(t, err)
	for {
		b, err := r.Next()
		must(t, err)
		if l, ok := b.(*pcapng.Local); ok {
			var header struct{ Version int }
			must(t, json.Unmarshal(l.Data, &header))
			if header.Version != 2 {
				t.Errorf("version %d", header.Version)
			}
			return
		}
	}
}

// Before there was a second version, changes went on where a namespace had gone and come.
func TestChangesOfTheFirstVersion(t *testing.T) {
	for version, want := range map[int]string{1: "[1 2]", 2: "[1]"} {
		file := &bytes.Buffer{}
		w, err := pcapng.NewWriter(file, pcapng.Section{})
		must(t, err)
		for _, block := range []struct {
			kind uint32
			data string
		}{
			{1, fmt.Sprintf(`{"Version":%d,"Session":"a"}`, version)}, {4, `{"Value":{"Namespace":7,"Time":1}}`}, {6, `{"Value":{"Namespace":7,"Until":2}}`},
			{15, `{"Kind":4,"Namespace":7,"Change":{"Fields":{"Time":{"Value":2}}}}`},
		} {
			must(t, w.Local(pcapng.Local{Kind: block.kind, Data: []byte(block.data)}))
		}
		must(t, w.Flush())
		recording, err := record.Open([]record.File{{Name: "tape", In: file}})
		must(t, err)
		var told []int64
		err = recording.Tell(t.Context(), record.Knowledge{Ruleset: func(r *netfilter.Ruleset) { told = append(told, r.Time) }})
		if fmt.Sprint(told) != want || (err == nil) != (version == 1) {
			t.Errorf("version %d: rules of %v, want %s; %v", version, told, want, err)
		}
	}
}

// What a file begins with is named with its place, too, where it is broken.
func TestABeginningThatIsBroken(t *testing.T) {
	for name, broken := range map[string]pcapng.Local{
		"host":   {Kind: 3, Data: []byte(`{"Value":{"Time" 7}}`)},
		"header": {Kind: 1, Data: []byte(`{"Version":2`)},
	} {
		var file bytes.Buffer
		w, err := pcapng.NewWriter(&file, pcapng.Section{})
		must(t, err)
		if broken.Kind != 1 {
			must(t, w.Local(pcapng.Local{Kind: 1, Data: []byte(`{"Version":2,"Session":"1"}`)}))
		}
		must(t, w.Local(broken))
		must(t, w.Flush())
		at := w.Written()
		_, err = record.Open([]record.File{{Name: "tape", In: &file}})
		if want := fmt.Sprintf("tape: block before byte %d: natlens's block of kind %d: ", at, broken.Kind); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s…", name, err, want)
		}
	}
}
