package pcapng

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"testing"
)

const noon = int64(1_790_000_000_123_456_789) // in 2026

// sample holds one of everything that the Writer writes.
func sample(t testing.TB) (file []byte, want []Block) {
	t.Helper()
	var out bytes.Buffer
	section := Section{Hardware: "a machine", OS: "Linux 6.1", Application: "natlens 1", Comments: []string{"made by a test"}}
	w, err := NewWriter(&out, section)
	must(t, err)
	want = append(want, &section)
	interfaces := []Interface{
		{ID: 0, LinkType: LinkEthernet, Snaplen: 65557, Name: "back/eth0", Description: "container back", MAC: [6]byte{2, 0x42, 0xac, 17, 0, 2}, Comments: []string{"namespace net:[4026532001]"}},
		{ID: 1, LinkType: LinkRaw, Name: "host/tun0"},
	}
	for i := range interfaces {
		id, err := w.Interface(interfaces[i])
		must(t, err)
		if id != i {
			t.Fatalf("interface %d has the id %d", i, id)
		}
		want = append(want, &interfaces[i])
	}
	names := Names{Entries: []Name{
		{netip.MustParseAddr("172.17.0.2"), []string{"back", "back.default"}},
		{netip.MustParseAddr("fd00::2"), []string{"back"}},
	}}
	must(t, w.Names(names))
	want = append(want, &names)
	local := Local{Kind: 7, Data: []byte(`{"version":1}`)}
	must(t, w.Local(local))
	want = append(want, &local)
	packets := []Packet{
		{Interface: 0, Time: noon, WireLength: 1514, Data: frame(60), Direction: Inbound, Reception: Promiscuous, ID: 1, Drops: 3, Comments: []string{"journey 1, hop 1 of 2", "and a second ⇒ comment"}},
		{Interface: 1, Time: noon - 4_000_000_001, WireLength: 41, Data: frame(55)[14:], Direction: Outbound, ID: 1},
		{Interface: 0, Time: noon + 1, WireLength: 60, Data: frame(60), Direction: Inbound, Reception: Unicast},
		{Interface: 0, Time: noon + 2, WireLength: 60, Data: frame(60), Reception: Broadcast},
		{Interface: 0, Time: noon + 3, WireLength: 60, Data: frame(60), Direction: Inbound, Reception: Multicast, ID: 1 << 40},
	}
	for i := range packets {
		must(t, w.Packet(&packets[i]))
		want = append(want, &packets[i])
	}
	statistics := Statistics{Interface: 0, Time: noon, Start: noon - 5, End: noon + 9, Received: 5, Dropped: 2, HasReceived: true, HasDropped: true, Comments: []string{"of all links"}}
	must(t, w.Statistics(&statistics))
	want = append(want, &statistics)
	if w.Written() != int64(len(w.pending)) || out.Len() != 0 {
		t.Errorf("%d bytes counted, %d gathered, %d written before Flush", w.Written(), len(w.pending), out.Len())
	}
	must(t, w.Flush())
	if w.Written() != int64(out.Len()) {
		t.Errorf("%d bytes counted, %d written", w.Written(), out.Len())
	}
	return out.Bytes(), want
}

// frame is a UDP datagram in Ethernet of that length.
func frame(length int) []byte {
	f := make([]byte, length)
	copy(f, []byte{
		2, 0x42, 0xac, 17, 0, 1, 2, 0x42, 0xac, 17, 0, 2, 0x08, 0x00, // Ethernet
		0x45, 0, 0, byte(length - 14), 0, 1, 0, 0, 64, 17, 0, 0, 172, 17, 0, 2, 198, 51, 100, 7, // IPv4
		0x10, 0, 0, 9, 0, byte(length - 34), 0, 0, // UDP
	})
	return f
}

// readAll reads blocks until the first error; io.EOF is none.
func readAll(t testing.TB, file []byte) ([]Block, error) {
	t.Helper()
	return drain(bytes.NewReader(file))
}

func drain(in io.Reader) (blocks []Block, err error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return blocks, nil
		}
		if err != nil {
			return blocks, err
		}
		blocks = append(blocks, b)
	}
}

func packetsOf(blocks []Block) (packets []*Packet) {
	for _, b := range blocks {
		if p, ok := b.(*Packet); ok {
			packets = append(packets, p)
		}
	}
	return packets
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
