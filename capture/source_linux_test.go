package capture

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
)

var (
	_ gopacket.PacketDataSource         = (*Source)(nil)
	_ gopacket.ZeroCopyPacketDataSource = (*Source)(nil)
)

func openTestSource(t *testing.T, c *cable) *Source {
	t.Helper()
	s, err := OpenSource(c.right, Config{})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestGopacketReadsASource(t *testing.T) {
	c := newCable(t)
	s := openTestSource(t, c)
	source := gopacket.NewPacketSource(s, layers.LayerTypeEthernet)
	conn := c.dial(t)
	before := time.Now()
	const sent = 50
	for n := range sent {
		_, err := conn.Write(payload(n))
		must(t, err)
	}
	for n := range sent {
		p, err := source.NextPacket()
		must(t, err)
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok || udp.DstPort != sinkPort || int(udp.Length) != 8+len(payload(n)) {
			t.Fatalf("packet %d: %v", n, p)
		}
		m := p.Metadata()
		if m.InterfaceIndex != int(c.rightIndex) || m.Length != 42+len(payload(n)) || m.Truncated != (m.Length > DefaultSnaplen) {
			t.Errorf("packet %d: %+v", n, m)
		}
		if m.Timestamp.Before(before) || time.Since(m.Timestamp) > time.Minute {
			t.Errorf("packet %d: stamped %v, began at %v", n, m.Timestamp, before)
		}
		want := Ancillary{Namespace: c.right.ID(), Ifindex: c.rightIndex, Type: Host, LinkType: packet.Ethernet}
		if len(m.AncillaryData) != 1 || m.AncillaryData[0] != want {
			t.Errorf("packet %d: %+v, want %+v", n, m.AncillaryData, want)
		}
	}
}

func TestSourceTellsOfTagsAndDrops(t *testing.T) {
	c := newCable(t)
	s, err := OpenSource(c.right, Config{Budget: 4 * minimalGeometry(DefaultSnaplen).size()})
	must(t, err)
	defer s.Close()
	conn := c.dial(t)
	var sent atomic.Int64
	send := func() {
		if _, err := conn.Write(payload(int(sent.Add(1)))); err != nil {
			t.Error(err)
		}
	}
	for range 5000 {
		send()
	}
	// The number of drops comes with a packet, so there must be some more.
	enough := make(chan struct{})
	var trickle sync.WaitGroup
	trickle.Go(func() {
		for range 500 {
			select {
			case <-enough:
				return
			case <-time.After(10 * time.Millisecond):
				send()
			}
		}
	})
	var received, drops int
	for range 10_000 {
		_, info, err := s.ZeroCopyReadPacketData()
		must(t, err)
		received++
		drops = int(info.AncillaryData[0].(Ancillary).Drops)
		if drops > 0 && received+drops == int(sent.Load()) {
			break
		}
	}
	close(enough)
	trickle.Wait()
	if drops == 0 || received+drops < 5000 || received+drops > int(sent.Load()) {
		t.Errorf("%d received and %d dropped of %d", received, drops, sent.Load())
	}
	for received+drops < int(sent.Load()) {
		_, _, err := s.ZeroCopyReadPacketData()
		must(t, err)
		received++
	}
	c.inject(t, ethernetUDP([]byte("tag"), 0x8100, 0xe007))
	data, info, err := s.ZeroCopyReadPacketData()
	must(t, err)
	got := info.AncillaryData[0].(Ancillary)
	if !got.Tagged || got.VLAN != 7 || string(data) != string(ethernetUDP([]byte("tag"), 0x8100, 0xe007)) {
		t.Errorf("%+v: % x", got, data)
	}
}

func TestCloseEndsAWaitingRead(t *testing.T) {
	c := newCable(t)
	s := openTestSource(t, c)
	ended := make(chan error)
	go func() {
		_, _, err := s.ReadPacketData()
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond) // so that it most likely waits
	must(t, s.Close())
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the read that waited: %v, want EOF", err)
	}
	if _, _, err := s.ZeroCopyReadPacketData(); !errors.Is(err, io.EOF) {
		t.Errorf("a read after Close: %v, want EOF", err)
	}
	must(t, s.Close())
}
