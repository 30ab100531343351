package record_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/pcapng"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

type closing struct{ io.Writer }

func (closing) Close() error { return nil }

// Where more links came and went than a section of a file has room for, the file is read
// to its end, and each packet is told at its own link.
func TestMoreLinksThanASectionHas(t *testing.T) {
	const links = 1<<16 + 500
	d := newDeck(t, record.Config{}) // for what it makes
	var file bytes.Buffer
	tape, err := record.NewTape(record.Config{Others: true, Open: func(int) (io.WriteCloser, error) { return closing{&file}, nil }})
	must(t, err)
	var want []string
	note := func(to *[]string) func(*trace.Journey) {
		return func(j *trace.Journey) {
			*to = append(*to, fmt.Sprint(j.ID, " ", j.Hops[0].Point, " ", j.Hops[0].Interface, " ", j.Verdict.Result))
		}
	}
	c := trace.New(trace.DefaultOpen, trace.Sink{Journey: func(j *trace.Journey) {
		note(&want)(j)
		tape.Journey(j)
	}})
	tape.AttachTo(c)
	tape.SetTopology((&netinfo.Topology{Self: 1, Number: 1, Time: time.Unix(0, d.now), Namespaces: []*netinfo.Namespace{{ID: 1, Name: "host"}}}).Seal())
	tape.Watch(1, 1)
	for n := range links + 1000 {
		o := d.datagramFor(netip.AddrFrom4([4]byte{203, 0, 113, byte(n >> 16)}), netns.ID(1+n%3), uint16(n))
		o.Ifindex = int32(2 + n%links) // the first ones have packets again at the end
		tape.Observe(&capture.Batch{Observations: []capture.Observation{o}, Through: d.now})
	}
	tape.Flush()
	must(t, tape.Err())
	recording, err := record.Open([]record.File{{Name: "tape", In: bytes.NewReader(file.Bytes())}})
	must(t, err)
	var got []string
	_, err = recording.Play(t.Context(), trace.DefaultOpen, record.Listener{Journey: note(&got)})
	must(t, err)
	if len(want) < links || !slices.Equal(want, got) {
		t.Errorf("%d journeys are read, %d were written", len(got), len(want))
	}
	if n, err := playBytes(t.Context(), slices.Concat(file.Bytes(), file.Bytes())); n != len(want) || err == nil ||
		!strings.Contains(err.Error(), fmt.Sprintf("another capture begins at byte %d ", file.Len())) {
		t.Errorf("twice: %d journeys, %v", n, err)
	}
	for name, changed := range map[string][]byte{ // as natlens wrote it that left it to the count of links
		"version 1": oldSections(t, file.Bytes(), 1), "version 2": oldSections(t, file.Bytes(), 2),
	} {
		if n, err := playBytes(t.Context(), changed); n != len(want) || err != nil {
			t.Errorf("%s: %d journeys, %v", name, n, err)
		}
	}
	path := filepath.Join(t.TempDir(), "tape.pcapng")
	must(t, os.WriteFile(path, file.Bytes(), 0o600))
	out := tshark(t, "tshark", "-r", path, "-T", "fields", "-e", "frame.interface_name", "-Y", fmt.Sprintf("frame.number > %d", links+900))
	if n := bytes.Count([]byte(out), []byte("if")); n != 100 {
		t.Errorf("tshark names the links of %d packets:\n%.300s", n, out)
	}
}

// oldSections makes a file of what an older natlens had written of it: its sections did
// not tell whose they are.
func oldSections(t *testing.T, file []byte, version int) (old []byte) {
	t.Helper()
	headers := 0
	for len(file) > 0 {
		n := binary.LittleEndian.Uint32(file[4:])
		block := file[:n]
		file = file[n:]
		if binary.LittleEndian.Uint32(block) == 0x806E6C73 && block[16] == 1 {
			if headers++; headers > 1 {
				continue
			}
			block = bytes.Replace(block, []byte(`"Version":2`), fmt.Append(nil, `"Version":`, version), 1)
		}
		old = append(old, block...)
	}
	if headers != 2 {
		t.Fatalf("%d headers", headers)
	}
	return old
}

// A section that is full is followed by another program's as any is.
func TestAnotherCaptureBehindAFullSection(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	d.pass(time.Second, true, d.datagram(1, 10))
	d.tape.Flush()
	must(t, d.tape.Err())
	own, err := os.ReadFile(d.paths[0])
	must(t, err)
	filled := slices.Clone(own) // another program has added links to it
	for id := interfaces(t, own); id < pcapng.MaxInterfaces; id++ {
		filled = append(filled, 1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0)
	}
	foreign := foreignFile(t, 1, 2)
	n, err := playBytes(t.Context(), slices.Concat(filled, foreign))
	if n != 1 || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another capture begins at byte %d ", len(filled))) {
		t.Errorf("behind natlens's: %d journeys, %v", n, err)
	}
	var links []byte // another program's, without a packet
	links = append(links, foreignFile(t)...)
	for range pcapng.MaxInterfaces {
		links = append(links, 1, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0)
	}
	n, err = playBytes(t.Context(), slices.Concat(links, own))
	if n != 0 || err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another capture begins at byte %d ", len(links))) {
		t.Errorf("before natlens's: %d journeys, %v", n, err)
	}
}

// interfaces counts those of a file.
func interfaces(t *testing.T, file []byte) (n int) {
	t.Helper()
	r, err := pcapng.NewReader(bytes.NewReader(file))
	must(t, err)
	for {
		b, err := r.Next()
		if err != nil {
			return n
		}
		if _, ok := b.(*pcapng.Interface); ok {
			n++
		}
	}
}
