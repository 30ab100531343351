package live

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// datagramOf is a frame from a container's link to the host, for the server.
func datagramOf(t *testing.T, c *lab.Container, id uint16, to layers.UDPPort) []byte {
	t.Helper()
	bridge, err := netlink.LinkByName("docker0")
	if err != nil {
		t.Fatal(err)
	}
	var own netlink.Link
	if err := c.Namespace().Do(func() error {
		own, err = netlink.LinkByName("eth0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: id, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP,
		SrcIP: c.Address.AsSlice(), DstIP: lab.ServerAddress.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: to}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: own.Attrs().HardwareAddr, DstMAC: bridge.Attrs().HardwareAddr, EthernetType: layers.EthernetTypeIPv4},
		ip, udp, gopacket.Payload("twice")); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// TestDuplicatesOnTheWire: the same frame twice is two journeys, and so is a
// datagram sent again under a new identification, which is no duplicate.
func TestDuplicatesOnTheWire(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	w := startWatch(t, Config{})
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 3, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	const to = 5306
	first, again := datagramOf(t, back, 77, to), datagramOf(t, back, 78, to)
	if binary.BigEndian.Uint16(again[18:]) != 78 {
		t.Fatal("the identification is not where it should be")
	}
	inject(t, back.Namespace(), "eth0", [][]byte{first, first, again})
	datagram := func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == to
	}
	w.until("their journeys", func() bool {
		n := 0
		for _, j := range w.journeys {
			if datagram(j) {
				n++
			}
		}
		return n >= 3
	})
	w.end()
	all := w.all(datagram)
	if len(all) != 3 {
		t.Fatalf("%d journeys, want 3\n%s", len(all), w.account())
	}
	path := "back/eth0:out host/" + back.HostLink + ":in host/docker0:in host/eth0:out"
	for _, j := range all {
		expect(t, j, path, "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
	}
	if r := all[1].Related; len(all[0].Related) != 0 || len(r) != 1 || r[0] != (trace.Relation{ID: all[0].ID, Why: "duplicate_of"}) || len(all[2].Related) != 0 {
		t.Errorf("related %v, %v, %v", all[0].Related, r, all[2].Related)
	}
}
