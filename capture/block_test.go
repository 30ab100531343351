package capture

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
)

func TestBlockBecomesObservations(t *testing.T) {
	plain, long := ethernetUDP([]byte("hello")), ethernetUDP(make([]byte, 300))
	block := make([]byte, 4096)
	writeBlock(block, 1, 0, 0,
		fakeFrame{seconds: 1_700_000_000, nanos: 999_999_999, bytes: plain, ifindex: 7, hatype: 1, pktType: 4},
		fakeFrame{seconds: 1_700_000_001, nanos: 1, bytes: long[:128], length: uint32(len(long)), ifindex: 8, hatype: 772, pktType: 3},
		fakeFrame{seconds: 1_700_000_001, nanos: 2, bytes: ipv4UDP([]byte("tun")), ifindex: 9, hatype: 0xfffe},
	)
	got, unread := readBlock(42, block, 128)
	if unread != 0 || len(got) != 3 {
		t.Fatalf("%d observations, %d unread", len(got), unread)
	}
	type summary struct {
		Time       int64
		Ifindex    int32
		Type       PacketType
		Link       packet.LinkType
		WireLength uint32
		Bytes      int
		Tuple      string
	}
	var sums []summary
	for i := range got {
		o := &got[i]
		sums = append(sums, summary{o.Time, o.Ifindex, o.Type, o.LinkType, o.WireLength, len(o.Data), o.Headers.Tuple.String()})
		if o.Namespace != 42 {
			t.Errorf("observation %d: namespace %v", i, o.Namespace)
		}
	}
	const tuple = "udp 192.0.2.1:1000 > 192.0.2.2:2000"
	want := []summary{
		{1_700_000_000_999_999_999, 7, Outgoing, packet.Ethernet, 47, 47, tuple},
		{1_700_000_001_000_000_001, 8, OtherHost, packet.Ethernet, 342, 128, tuple},
		{1_700_000_001_000_000_002, 9, Host, packet.RawIP, 31, 31, tuple},
	}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Errorf("observations (-want +got):\n%s", diff)
	}
	clear(block)
	if !bytes.Equal(got[0].Data, plain) {
		t.Error("an observation's bytes changed with the ring")
	}
	if grown := append(got[0].Data, 0xff); &grown[0] == &got[0].Data[0] {
		t.Error("appending to one observation's bytes runs into the next")
	}
}

func TestTagIsPutBack(t *testing.T) {
	for _, test := range []struct {
		name        string
		frame       fakeFrame
		want        []byte
		vlan, ether uint16
	}{
		{"802.1Q", fakeFrame{bytes: ethernetUDP(nil), status: 1<<4 | 1<<6, tci: 0xe064, tpid: 0x8100}, ethernetUDP(nil, 0x8100, 0xe064), 100, 0x0800},
		{"old kernel without TPID", fakeFrame{bytes: ethernetUDP(nil), status: 1 << 4, tci: 100}, ethernetUDP(nil, 0x8100, 100), 100, 0x0800},
		{"outer of two", fakeFrame{bytes: ethernetUDP(nil, 0x8100, 5), status: 1<<4 | 1<<6, tci: 100, tpid: 0x88a8}, ethernetUDP(nil, 0x88a8, 100, 0x8100, 5), 100, 0x0800},
		{"both in the bytes", fakeFrame{bytes: ethernetUDP(nil, 0x88a8, 100, 0x8100, 5)}, ethernetUDP(nil, 0x88a8, 100, 0x8100, 5), 100, 0x0800},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.frame.hatype = arphrdEther
			block := make([]byte, 1024)
			writeBlock(block, 1, 0, 0, test.frame)
			obs, _ := readBlock(1, block, 128)
			if len(obs) != 1 {
				t.Fatalf("%d observations", len(obs))
			}
			o := &obs[0]
			if !bytes.Equal(o.Data, test.want) || int(o.WireLength) != len(test.want) {
				t.Errorf("bytes % x\nwant  % x (wire length %d)", o.Data, test.want, o.WireLength)
			}
			if h := &o.Headers; !h.Layers.Has(packet.LayerVLAN|packet.LayerUDP) || h.VLAN != test.vlan || h.EtherType != test.ether {
				t.Errorf("layers %b, VLAN %d, EtherType %#x", h.Layers, h.VLAN, h.EtherType)
			}
		})
	}
	t.Run("cut at the snap length", func(t *testing.T) {
		block := make([]byte, 1024)
		long := fakeFrame{bytes: ethernetUDP(make([]byte, 400))[:60], length: 442, hatype: arphrdEther, status: 1<<4 | 1<<6, tci: 9, tpid: 0x8100}
		writeBlock(block, 1, 0, 0, long, long)
		obs, _ := readBlock(1, block, 60)
		if len(obs) != 2 || len(obs[0].Data) != 60 || len(obs[1].Data) != 60 || obs[0].WireLength != 446 {
			t.Errorf("%d observations: %+v", len(obs), obs)
		}
	})
}

// A kernel does none of this; a decoder that trusts a ring would crash on it.
func TestDamagedBlocks(t *testing.T) {
	frames := []fakeFrame{{bytes: ethernetUDP(nil), hatype: 1}, {bytes: ethernetUDP(nil), hatype: 1}}
	for _, test := range []struct {
		name   string
		damage func(block []byte)
		read   int
		unread uint64
	}{
		{"no damage", func([]byte) {}, 2, 0},
		{"first frame outside", func(b []byte) { native.PutUint32(b[16:], 1<<31) }, 0, 2},
		{"first header half outside", func(b []byte) { native.PutUint32(b[16:], uint32(len(b)-frameHeader+1)) }, 0, 2},
		{"bytes outside", func(b []byte) { native.PutUint32(b[48+12:], 1<<32-1) }, 0, 2},
		{"next outside", func(b []byte) { native.PutUint32(b[48:], 1<<32-1) }, 1, 1},
		{"chain ends early", func(b []byte) { native.PutUint32(b[48:], 0) }, 1, 1},
		{"chain turns in place", func(b []byte) { native.PutUint32(b[48:], 1); native.PutUint32(b[12:], 1<<32-1) }, 1, 1<<32 - 2},
		{"more promised than there are", func(b []byte) { native.PutUint32(b[12:], 4) }, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			block := make([]byte, 1024)
			writeBlock(block, 1, 0, 0, frames...)
			test.damage(block)
			obs, unread := readBlock(1, block, 128)
			if len(obs) != test.read || unread != test.unread {
				t.Errorf("read %d, unread %d, want %d and %d", len(obs), unread, test.read, test.unread)
			}
		})
	}
	if obs, unread := readBlock(1, make([]byte, blockHeader-1), 128); len(obs) != 0 || unread != 0 {
		t.Errorf("a block of 47 bytes gave %d observations, %d unread", len(obs), unread)
	}
}

func FuzzBlock(f *testing.F) {
	block := make([]byte, 512)
	writeBlock(block, 1, 0, 0,
		fakeFrame{bytes: ethernetUDP([]byte("x")), hatype: 1},
		fakeFrame{bytes: ethernetUDP(nil), hatype: 1, status: 1 << 4, tci: 3})
	f.Add(block, 128)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, block []byte, snaplen int) {
		if snaplen < 1 || snaplen > MaxSnaplen {
			t.Skip()
		}
		obs, unread := readBlock(1, block, snaplen)
		promised := framesOf(block).left
		if uint64(len(obs))+unread != uint64(promised) {
			t.Errorf("%d read and %d unread of %d", len(obs), unread, promised)
		}
		for i := range obs {
			if len(obs[i].Data) > snaplen {
				t.Errorf("%d bytes, snap length %d", len(obs[i].Data), snaplen)
			}
		}
	})
}

// BenchmarkBlock reads one full block of 1 MiB as a ring of snap length 128
// holds it. Its ns/packet is the reader's whole work on a packet: walk, copy,
// parse, fingerprint.
func BenchmarkBlock(b *testing.B) {
	block := make([]byte, 1<<20)
	full := ethernetUDP(make([]byte, 600))
	list := make([]fakeFrame, (len(block)-blockHeader)/216)
	for i := range list {
		list[i] = fakeFrame{bytes: full[:128], length: uint32(len(full)), hatype: 1, ifindex: 2}
	}
	writeBlock(block, 1, 0, 0, list...)
	b.ReportAllocs()
	packets := 0
	for b.Loop() {
		obs, _ := readBlock(1, block, 128)
		packets += len(obs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
}
