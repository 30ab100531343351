package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// build puts a block together: its body in 32-bit words, in one byte order.
type build struct {
	order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
	file []byte
}

func (b *build) block(kind uint32, words ...any) *build {
	var body []byte
	for _, w := range words {
		switch w := w.(type) {
		case int:
			body = b.order.AppendUint32(body, uint32(w))
		case uint32:
			body = b.order.AppendUint32(body, w)
		case [2]int: // two halves of a word
			body = b.order.AppendUint16(body, uint16(w[0]))
			body = b.order.AppendUint16(body, uint16(w[1]))
		case uint64:
			body = b.order.AppendUint64(body, w)
		case []byte:
			body = append(body, w...)
			for len(body)%4 != 0 {
				body = append(body, 0xee)
			}
		}
	}
	length := uint32(len(body) + 12)
	b.file = b.order.AppendUint32(b.file, kind)
	b.file = b.order.AppendUint32(b.file, length)
	b.file = append(b.file, body...)
	b.file = b.order.AppendUint32(b.file, length)
	return b
}

func (b *build) section() *build {
	return b.block(typeSection, byteOrderMagic, [2]int{1, 0}, uint32(math.MaxUint32), uint32(math.MaxUint32))
}

func TestBothByteOrdersAndAllPacketBlocks(t *testing.T) {
	big, little := &build{order: binary.BigEndian}, &build{order: binary.LittleEndian}
	for _, b := range []*build{big, little} {
		b.section()
		b.block(typeInterface, [2]int{1, 0}, 20) // microseconds, 20 bytes at most
		b.block(typeInterface, [2]int{101, 0}, 0, [2]int{ifTsresol, 1}, []byte{0x80 | 10}, [2]int{ifTsoffset, 8}, uint64(3), [2]int{ifName, 3}, []byte("wg0"), 0)
		b.block(typeEnhanced, 0, 0, 1_500_000, 5, 99, []byte("hello"), [2]int{epbFlags, 4}, 2|3<<2, [2]int{optComment, 2}, []byte("hi"), [2]int{999, 3}, []byte("abc"), 0)
		b.block(typeSimple, 24, []byte("the first twenty bytes..")) // as of interface 0
		b.block(typeObsolete, [2]int{1, 7}, 1, 1024, 3, 3, []byte("old"), [2]int{epbFlags, 4}, 1, 0)
		b.block(typeObsolete, [2]int{1, 0xffff}, 1, 1024, 0, 3) // no options, drops not told
		b.block(0x99, []byte("nobody knows this"))
		b.block(typeLocal, []byte("another program's, of the same type"))
		b.block(typeStatistics, 0, 0, 2_000_000, [2]int{isbIfDrop, 8}, uint64(4), [2]int{isbOSDrop, 8}, uint64(5), [2]int{isbStartTime, 8}, 0, 1, 0)
	}
	// A second section, whose interfaces begin anew.
	file := slices.Concat(big.file, little.file)
	blocks, err := readAll(t, file)
	must(t, err)
	want := []Packet{
		{Interface: 0, Time: 1_500_000_000, Data: []byte("hello"), WireLength: 99, Direction: Outbound, Reception: Broadcast, Comments: []string{"hi"}},
		{Interface: 0, Time: 1_500_000_000, Data: []byte("the first twenty byt"), WireLength: 24},
		{Interface: 1, Time: 4_194_305_000_000_000 + 3_000_000_000, Data: []byte("old"), WireLength: 3, Direction: Inbound, Drops: 7},
		{Interface: 1, Time: 4_194_305_000_000_000 + 3_000_000_000, WireLength: 3},
	}
	got := packetsOf(blocks)
	if len(got) != 2*len(want) {
		t.Fatalf("%d packets, want %d", len(got), 2*len(want))
	}
	for i, p := range got {
		w := want[i%len(want)]
		w.Interface += i / len(want) * 2
		if p.Interface != w.Interface || p.Time != w.Time || !bytes.Equal(p.Data, w.Data) || p.WireLength != w.WireLength ||
			p.Direction != w.Direction || p.Reception != w.Reception || p.Drops != w.Drops || !slices.Equal(p.Comments, w.Comments) {
			t.Errorf("packet %d: %+v, want %+v", i, *p, w)
		}
	}
	names := 0
	for i, b := range blocks {
		switch b := b.(type) {
		case *Section:
			if want := int64(len(big.file)); i > 0 && b.Offset != want || i == 0 && b.Offset != 0 {
				t.Errorf("block %d, a section, begins at byte %d; the second at %d", i, b.Offset, want)
			}
		case *Interface:
			if b.ID%2 == 1 && b.Name == "wg0" && b.LinkType == LinkRaw {
				names++
			}
		case *Statistics:
			if b.Interface%2 != 0 || b.Dropped != 9 || !b.HasDropped || b.HasReceived || b.Time != 2e9 || b.Start != 1000 {
				t.Errorf("%+v", b)
			}
		case *Local:
			t.Errorf("took another program's block: %+v", b)
		}
	}
	if names != 2 {
		t.Errorf("the second interface was found %d times, want 2", names)
	}
}

func TestPcapInAllForms(t *testing.T) {
	for _, test := range []struct {
		magic uint32
		unit  int64
	}{{magicMicro, 1000}, {magicNano, 1}} {
		for _, order := range []interface {
			binary.ByteOrder
			binary.AppendByteOrder
		}{binary.LittleEndian, binary.BigEndian} {
			var file []byte
			for _, v := range []uint32{test.magic, 0, 0, 0, 262144, 1} {
				file = order.AppendUint32(file, v)
			}
			order.PutUint16(file[4:], 2)
			order.PutUint16(file[6:], 4)
			for n := range 3 {
				for _, v := range []uint32{3_000_000_000, 999_000 + uint32(n), 60, 1500} {
					file = order.AppendUint32(file, v)
				}
				file = append(file, frame(60)...)
			}
			blocks, err := readAll(t, file)
			must(t, err)
			if i := blocks[1].(*Interface); i.LinkType != LinkEthernet || i.Snaplen != 262144 {
				t.Errorf("%x: interface %+v", test.magic, i)
			}
			packets := packetsOf(blocks)
			other, err := pcapgo.NewReader(bytes.NewReader(file))
			must(t, err)
			for i, p := range packets {
				data, info, err := other.ReadPacketData()
				must(t, err)
				if !bytes.Equal(p.Data, data) || p.Time != info.Timestamp.UnixNano() || int(p.WireLength) != info.Length {
					t.Errorf("%x %v: packet %d at %d, gopacket: %v", test.magic, order, i, p.Time, info)
				}
				if want := 3_000_000_000_000_000_000 + (999_000+int64(i))*test.unit; p.Time != want {
					t.Errorf("%x %v: time %d, want %d", test.magic, order, p.Time, want)
				}
			}
			if len(packets) != 3 {
				t.Errorf("%x %v: %d packets", test.magic, order, len(packets))
			}
		}
	}
}

// gopacket writes pcapng, too.
func TestWhatGopacketWrites(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{Name: "eth7", LinkType: layers.LinkTypeEthernet, SnapLength: 96}, pcapgo.NgWriterOptions{})
	must(t, err)
	must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, noon), CaptureLength: 60, Length: 70}, frame(60)))
	must(t, w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: time.Unix(0, noon), PacketsReceived: 12, PacketsDropped: 2}))
	must(t, w.Flush())
	blocks, err := readAll(t, file.Bytes())
	must(t, err)
	found := 0
	for _, b := range blocks {
		switch b := b.(type) {
		case *Interface:
			found++
			if b.Name != "eth7" || b.LinkType != LinkEthernet {
				t.Errorf("%+v", b)
			}
		case *Packet:
			found++
			if b.Time != noon || b.WireLength != 70 || !bytes.Equal(b.Data, frame(60)) {
				t.Errorf("%+v", b)
			}
		case *Statistics:
			found++
			if b.Received != 12 || b.Dropped != 2 || b.Time != noon {
				t.Errorf("%+v", b)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of 3 blocks", found)
	}
}

func TestCookedHeadersTellDirectionAndLink(t *testing.T) {
	sll := append([]byte{0, 4, 0, 1, 0, 6, 2, 0x42, 0xac, 17, 0, 2, 0, 0, 8, 0}, frame(60)[14:]...)
	sll2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 9, 0, 1, 3, 6, 2, 0x42, 0xac, 17, 0, 2, 0, 0}, frame(60)[14:]...)
	b := &build{order: binary.LittleEndian}
	b.section().block(typeInterface, [2]int{113, 0}, 0).block(typeInterface, [2]int{276, 0}, 0)
	for i, data := range [][]byte{sll, sll2, {0, 4}, {1}, {8, 0, 0, 0}} {
		b.block(typeEnhanced, i%2, 0, 0, len(data), len(data), data, 0)
	}
	// What the block says itself counts for more.
	b.block(typeEnhanced, 0, 0, 0, len(sll), len(sll), sll, [2]int{epbFlags, 4}, 1|1<<2, 0)
	blocks, err := readAll(t, b.file)
	must(t, err)
	want := []Packet{
		{Direction: Outbound}, {Direction: Inbound, Reception: Promiscuous, Ifindex: 9}, {Direction: Outbound}, {}, {},
		{Direction: Inbound, Reception: Unicast},
	}
	for i, p := range packetsOf(blocks) {
		if p.Direction != want[i].Direction || p.Reception != want[i].Reception || p.Ifindex != want[i].Ifindex {
			t.Errorf("packet %d: %+v", i, p)
		}
	}
}

func TestFileIsReadUpToTheBreak(t *testing.T) {
	whole, want := sample(t)
	borders := []int64{0}
	for at := int64(0); at < int64(len(whole)); {
		at += int64(binary.LittleEndian.Uint32(whole[at+4:]))
		borders = append(borders, at)
	}
	for cut := 4; cut < len(whole); cut++ {
		blocks, err := drain(iotest.OneByteReader(bytes.NewReader(whole[:cut])))
		last := 0
		for borders[last+1] <= int64(cut) {
			last++
		}
		if len(blocks) != last {
			t.Fatalf("cut at %d: %d blocks, want %d of %d", cut, len(blocks), last, len(want))
		}
		var broken *BreakError
		switch atBorder := borders[last] == int64(cut); {
		case atBorder && err != nil:
			t.Errorf("cut at the border %d: %v", cut, err)
		case !atBorder && (!errors.As(err, &broken) || broken.Offset != borders[last]):
			t.Errorf("cut at %d: %v, want a break at %d", cut, err, borders[last])
		}
	}
}

func TestBrokenBlocksAreNamed(t *testing.T) {
	begin := func() *build { return (&build{order: binary.LittleEndian}).section() }
	one := func() *build { return begin().block(typeInterface, [2]int{1, 0}, 0) }
	tests := map[string]*build{
		"packet before its interface":       begin().block(typeEnhanced, 0, 0, 0, 0, 0),
		"simple packet before an interface": begin().block(typeSimple, 0),
		"interface of an earlier section":   one().section().block(typeEnhanced, 0, 0, 0, 0, 0),
		"packet longer than its block":      one().block(typeEnhanced, 0, 0, 0, 5, 5, []byte("four")),
		"short packet block":                one().block(typeEnhanced, 0, 0, 0, 0),
		"short obsolete block":              one().block(typeObsolete, 0, 0),
		"short statistics":                  one().block(typeStatistics, 0, 0),
		"short interface":                   begin().block(typeInterface, 1),
		"short simple packet":               one().block(typeSimple),
		"option longer than its block":      one().block(typeEnhanced, 0, 0, 0, 0, 0, [2]int{1, 9}, []byte("short")),
		"record longer than its block":      begin().block(typeNames, [2]int{1, 80}, []byte("short")),
		"local block longer than itself":    begin().block(typeLocal, []byte(localMark), 1, 100),
		"short section":                     begin().block(typeSection, byteOrderMagic, [2]int{1, 0}),
		"version 2":                         begin().block(typeSection, byteOrderMagic, [2]int{2, 0}, 0, 0),
		"no byte order":                     begin().block(typeSection, 1, [2]int{1, 0}, 0, 0),
	}
	for name, b := range tests {
		good := int64(len(begin().file))
		if before := one(); bytes.HasPrefix(b.file, before.file) {
			good = int64(len(before.file))
		}
		if name == "interface of an earlier section" {
			good += int64(len(begin().file))
		}
		_, err := readAll(t, b.file)
		var broken *BreakError
		if !errors.As(err, &broken) || broken.Offset != good {
			t.Errorf("%s: %v, want a break at %d", name, err, good)
		}
	}
	for name, file := range map[string][]byte{
		"empty":            {},
		"three bytes":      {1, 2, 3},
		"text":             []byte("this is no capture"),
		"gzip":             {0x1f, 0x8b, 8, 0, 0},
		"half a header":    {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0},
		"pcap version 543": binary.LittleEndian.AppendUint64(append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 0x1f, 2, 4, 0}, make([]byte, 12)...), 1),
	} {
		var broken *BreakError
		if _, err := readAll(t, file); !errors.As(err, &broken) || broken.Offset != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is compressed is not read, but who unpacks it is said.
func TestCompressedFilesNameTheirProgram(t *testing.T) {
	for _, program := range []string{"gzip", "xz", "zstd", "bzip2", "lz4"} {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		file, _ := sample(t)
		cmd := exec.Command(program, "-c")
		cmd.Stdin = bytes.NewReader(file)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = readAll(t, packed); err == nil || !strings.Contains(err.Error(), "compressed by "+program+"; unpack it first ("+program+" -dc FILE | natlens read -)") {
			t.Errorf("%s: %v", program, err)
		}
	}
}

func TestBadLengthsAreNamed(t *testing.T) {
	file, _ := sample(t)
	at := int64(binary.LittleEndian.Uint32(file[4:]))
	for _, length := range []uint32{0, 8, 13, 12, 1 << 31, math.MaxUint32 &^ 3} {
		bad := slices.Clone(file)
		binary.LittleEndian.PutUint32(bad[at+4:], length)
		_, err := readAll(t, bad)
		var broken *BreakError
		if !errors.As(err, &broken) || broken.Offset != at {
			t.Errorf("length %d: %v, want a break at %d", length, err, at)
		}
	}
}

func TestErrorsOfTheFileAreHandedOn(t *testing.T) {
	file, _ := sample(t)
	gone := errors.New("input/output error")
	for _, n := range []int{0, 3, 40, 100, len(file)} {
		_, err := drain(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(gone)))
		if !errors.Is(err, gone) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

// What is claimed costs nothing; what is there is bounded.
func TestClaimsAllocateNothing(t *testing.T) {
	b := (&build{order: binary.LittleEndian}).section()
	for _, kind := range []uint32{typeEnhanced, typeNames, typeLocal, 0x1234} {
		file := slices.Clone(b.file)
		file = binary.LittleEndian.AppendUint32(file, kind)
		file = binary.LittleEndian.AppendUint32(file, maxBlock)
		file = append(file, make([]byte, 40)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(t, file)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%x: read", kind)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%x: %d bytes allocated", kind, n)
		}
	}
	many := &build{order: binary.LittleEndian}
	many.section()
	for range MaxInterfaces + 1 {
		many.block(typeInterface, [2]int{1, 0}, 0)
	}
	var broken *BreakError
	if blocks, err := readAll(t, many.file); !errors.As(err, &broken) || len(blocks) != MaxInterfaces+1 {
		t.Errorf("%d blocks, %v", len(blocks), err)
	}
}

func FuzzReader(f *testing.F) {
	file, _ := sample(f)
	f.Add(file)
	f.Add(file[:len(file)-7])
	f.Add([]byte{})
	for _, order := range []interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}{binary.LittleEndian, binary.BigEndian} {
		b := (&build{order: order}).section().block(typeInterface, [2]int{276, 0}, 96, [2]int{ifTsresol, 1}, []byte{0xff}, 0)
		b.block(typeSimple, 4, []byte("four")).block(typeObsolete, [2]int{0, 7}, 1, 1024, 3, 3, []byte("old"))
		b.block(typeNames, [2]int{1, 7}, []byte{192, 0, 2, 1, 'n', 0, 0}, 0)
		f.Add(b.file)
		pcap := order.AppendUint32(nil, magicNano)
		pcap = append(pcap, make([]byte, 20)...)
		order.PutUint16(pcap[4:], 2)
		for _, v := range []uint32{1, 2, 3, 4} {
			pcap = order.AppendUint32(pcap, v)
		}
		f.Add(append(pcap, "abc"...))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		interfaces := 0
		for {
			b, err := r.Next()
			if err != nil {
				var broken *BreakError
				if !errors.Is(err, io.EOF) && (!errors.As(err, &broken) || broken.Offset != r.Offset()) {
					t.Fatalf("%v at %d", err, r.Offset())
				}
				if errors.Is(err, io.EOF) && r.Offset() != int64(len(file)) {
					t.Fatalf("ended at %d of %d", r.Offset(), len(file))
				}
				return
			}
			switch b := b.(type) {
			case *Interface:
				if b.ID != interfaces {
					t.Fatalf("interface %d has the id %d", interfaces, b.ID)
				}
				interfaces++
			case *Packet:
				if b.Interface >= interfaces || int(b.WireLength) < len(b.Data) {
					t.Fatalf("packet %+v of %d interfaces", b, interfaces)
				}
			}
		}
	})
}
