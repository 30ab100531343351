package pcapng

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"net/netip"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	file, want := sample(t)
	got, err := readAll(t, file)
	must(t, err)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-written +read\n%s", diff)
	}
}

// The reader of gopacket is another program's idea of the format.
func TestGopacketReadsTheSamePackets(t *testing.T) {
	file, _ := sample(t)
	blocks, err := readAll(t, file)
	must(t, err)
	other, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	must(t, err)
	for i, p := range packetsOf(blocks) {
		data, info, err := other.ReadPacketData()
		must(t, err)
		if !bytes.Equal(data, p.Data) || info.Timestamp.UnixNano() != p.Time || info.Length != int(p.WireLength) || info.InterfaceIndex != p.Interface {
			t.Errorf("packet %d: %+v, gopacket reads %+v", i, p, info)
		}
	}
	if _, _, err := other.ReadPacketData(); err == nil {
		t.Error("gopacket reads more packets")
	}
	first, err := other.Interface(0)
	must(t, err)
	if first.Name != "back/eth0" || first.LinkType != layers.LinkTypeEthernet || first.Description != "container back" {
		t.Errorf("gopacket reads the interface %+v", first)
	}
	if n := first.Statistics; n.PacketsReceived != 5 || n.PacketsDropped != 2 {
		t.Errorf("gopacket reads the statistics %+v", n)
	}
}

// wholeBlocks fails when it is given a part of a block.
type wholeBlocks struct {
	t      *testing.T
	file   bytes.Buffer
	writes int
}

func (w *wholeBlocks) Write(b []byte) (int, error) {
	w.writes++
	w.file.Write(b)
	if _, err := readAll(w.t, w.file.Bytes()); err != nil {
		w.t.Errorf("after write %d: %v", w.writes, err)
	}
	return len(b), nil
}

func TestOnlyWholeBlocksAreHandedOn(t *testing.T) {
	out := &wholeBlocks{t: t}
	w, err := NewWriter(out, Section{})
	must(t, err)
	id, err := w.Interface(Interface{LinkType: LinkEthernet})
	must(t, err)
	for n := range 60 {
		must(t, w.Packet(&Packet{Interface: id, Time: int64(n), Data: make([]byte, 65_000+n)}))
		if len(w.pending) >= flushAt {
			t.Fatalf("%d bytes are gathered", len(w.pending))
		}
	}
	must(t, w.Flush())
	if out.writes < 10 {
		t.Errorf("%d writes", out.writes)
	}
	blocks, err := readAll(t, out.file.Bytes())
	must(t, err)
	if n := len(packetsOf(blocks)); n != 60 {
		t.Errorf("%d packets", n)
	}
}

type full struct{}

var errFull = errors.New("no space left on device")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrorsStay(t *testing.T) {
	w, err := NewWriter(full{}, Section{})
	must(t, err)
	if err := w.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush: %v", err)
	}
	if _, err := w.Interface(Interface{}); !errors.Is(err, errFull) {
		t.Errorf("Interface: %v", err)
	}
	if err := w.Local(Local{}); !errors.Is(err, errFull) {
		t.Errorf("Local: %v", err)
	}
	if err := w.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush: %v", err)
	}
}

func TestWhatCantBeWrittenIsRefused(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{})
	must(t, err)
	for name, err := range map[string]error{
		"a packet":     w.Packet(&Packet{Interface: 0}),
		"statistics":   w.Statistics(&Statistics{Interface: -1}),
		"a huge block": w.Local(Local{Data: make([]byte, maxBlock)}),
	} {
		if err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	must(t, w.Local(Local{Kind: 1}))
	must(t, w.Flush())
	if blocks, err := readAll(t, out.Bytes()); err != nil || len(blocks) != 2 {
		t.Errorf("%d blocks and %v, want 2", len(blocks), err)
	}
}

// A section has as many interfaces as are read of one; another takes more of them, and
// each packet keeps its own.
func TestMoreInterfacesThanASectionHas(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{})
	must(t, err)
	want := 0
	for range 3 {
		for !w.Full() {
			id, err := w.Interface(Interface{LinkType: LinkEthernet})
			must(t, err)
			if id != want {
				t.Fatalf("the id %d, want %d", id, want)
			}
			want++
		}
		if _, err := w.Interface(Interface{}); err == nil {
			t.Fatal("a full section takes an interface")
		}
		must(t, w.Packet(&Packet{Interface: want - 1, Data: frame(60), WireLength: 60}))
		must(t, w.Statistics(&Statistics{Interface: want - 2}))
		must(t, w.Section(Section{}))
		if w.Packet(&Packet{Interface: want - 1}) == nil {
			t.Error("an interface of an earlier section gets a packet")
		}
	}
	must(t, w.Flush())
	blocks, err := readAll(t, out.Bytes())
	must(t, err)
	interfaces, packets := 0, 0
	for _, b := range blocks {
		switch b := b.(type) {
		case *Interface:
			if b.ID != interfaces {
				t.Fatalf("interface %d is read as %d", interfaces, b.ID)
			}
			interfaces++
		case *Packet:
			if packets++; b.Interface != interfaces-1 {
				t.Errorf("a packet of interface %d, want %d", b.Interface, interfaces-1)
			}
		case *Statistics:
			if b.Interface != interfaces-2 {
				t.Errorf("statistics of interface %d, want %d", b.Interface, interfaces-2)
			}
		}
	}
	if interfaces != want || packets != 3 {
		t.Errorf("%d interfaces and %d packets, want %d and 3", interfaces, packets, want)
	}
}

func TestLongTextsAreCut(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{Comments: []string{strings.Repeat("ä", 40_000)}})
	must(t, err)
	must(t, w.Names(Names{Entries: []Name{
		{netip.MustParseAddr("192.0.2.1"), []string{"a\x00b"}},
		{netip.MustParseAddr("192.0.2.2"), []string{strings.Repeat("n", 70_000)}},
		{netip.MustParseAddr("192.0.2.3"), nil},
		{netip.Addr{}, []string{"nowhere"}},
	}}))
	must(t, w.Flush())
	blocks, err := readAll(t, out.Bytes())
	must(t, err)
	if c := blocks[0].(*Section).Comments; len(c) != 1 || c[0] != strings.Repeat("ä", 32_767) {
		t.Errorf("comment of %d bytes", len(c[0]))
	}
	n := blocks[1].(*Names).Entries
	if len(n) != 1 || n[0].Address != netip.MustParseAddr("192.0.2.1") || len(n[0].Names) != 1 || n[0].Names[0] != "a" {
		t.Errorf("names %v", n)
	}
}
