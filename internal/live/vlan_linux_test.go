package live

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// A frame with a VLAN's tag is another packet than the same without one, on the
// same links. There is no VLAN behind the bridge, so nobody takes it.
func TestTaggedFrames(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back, database := h.Find("back"), h.Find("database")
	mac := func(name string) (hw []byte) {
		t.Helper()
		if err := h.Find(name).Namespace().Do(func() error {
			l, err := netlink.LinkByName("eth0")
			if err == nil {
				hw = l.Attrs().HardwareAddr
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return hw
	}
	const number, tag = 5330, 7
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 9, Protocol: layers.IPProtocolUDP, SrcIP: back.Address.AsSlice(), DstIP: database.Address.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: number}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: mac("back"), DstMAC: mac("database"), EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload("the same bytes")); err != nil {
		t.Fatal(err)
	}
	plain := append([]byte(nil), b.Bytes()...)
	tagged := binary.BigEndian.AppendUint16(append([]byte(nil), plain[:12]...), 0x8100)
	tagged = append(binary.BigEndian.AppendUint16(tagged, tag), plain[12:]...)

	heard, err := lab.ListenUDP(database.Namespace(), netip.AddrPortFrom(database.Address, number)) // else it answers with errors
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	w := startWatch(t, Config{})
	inject(t, back.Namespace(), "eth0", [][]byte{plain, tagged, plain, tagged})
	sent := func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == number
	}
	w.until("all four", func() bool {
		n := 0
		for _, j := range w.journeys {
			if sent(j) {
				n++
			}
		}
		return n >= 4
	})
	path := "back/eth0:out host/" + back.HostLink + ":in host/" + database.HostLink + ":out database/eth0:in"
	count := map[bool]int{}
	for _, j := range w.all(sent) {
		is := j.Hops[0].Headers.Layers.Has(packet.LayerVLAN)
		count[is]++
		for _, hop := range j.Hops {
			if hop.Headers.Layers.Has(packet.LayerVLAN) != is || is && hop.Headers.VLAN != tag {
				t.Errorf("a packet with a tag, %v, has a hop of another at %s:%s", is, hop.Namespace, hop.Interface)
			}
		}
		want, why := trace.Delivered, ""
		if is {
			want, why = trace.Vanished, "it is tagged for VLAN 7, for which database has no link on eth0: not accepted here"
		}
		if got := pathOf(j); got != path || j.Verdict.Result != want || j.Verdict.Reason != why || j.Verdict.Leak {
			t.Errorf("tag %v: %s, %+v %v; want %s, %s", is, got, j.Verdict, j.Notes, path, want)
		}
	}
	if count[true] != 2 || count[false] != 2 {
		t.Errorf("%d with a tag, %d without; want two of each", count[true], count[false])
	}
}
