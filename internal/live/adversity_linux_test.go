package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// pinger pings from a namespace until the test ends.
func pinger(t *testing.T, from *netns.Handle, id uint16) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for seq := uint16(1); ctx.Err() == nil; seq++ {
			short, end := context.WithTimeout(ctx, 100*time.Millisecond)
			_, _ = lab.Ping(short, from, lab.ServerAddress, lab.Echo{ID: id, Seq: seq, Payload: []byte("on and on")})
			end()
			time.Sleep(2 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// whole reports whether a journey is a container's ping that left.
func whole(name, link string) func(*trace.Journey) bool {
	path := name + "/eth0:out host/" + link + ":in host/docker0:in host/eth0:out"
	return func(j *trace.Journey) bool { return pathOf(j) == path && j.Verdict.Result == trace.Left }
}

func TestLinksThatAreRenamedAndVanish(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	b := mustBox(t, "box", 10)
	t.Cleanup(func() { _ = b.remove() })
	w := startWatch(t, Config{})
	pinger(t, h.Find("back").Namespace(), 1)
	pinger(t, b.ns, 2)
	w.journey("a ping of the box", whole("box", b.link))

	link, err := netlink.LinkByName(b.link)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetName(link, "renamed0"); err != nil {
		t.Fatal(err)
	}
	w.journey("a ping through the renamed link", whole("box", "renamed0"))
	// It goes with packets in it.
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	w.until("word that the link went", func() bool {
		for _, c := range w.changes {
			if c.Kind == "link" && c.Action == "went" && c.Name == "renamed0" {
				return true
			}
		}
		return false
	})
	w.mu.Lock()
	w.journeys = nil
	w.mu.Unlock()
	w.journey("another container's pings go on", whole("back", h.Find("back").HostLink))
}

// inject sends bytes as they are from a link of a namespace.
func inject(t *testing.T, ns *netns.Handle, name string, frames [][]byte) {
	t.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, to); err != nil {
				return fmt.Errorf("send %x: %w", f, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMalformedFrames(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	// Broadcast, so that every link of the bridge gets them.
	ethernet := func(kind uint16, payload ...byte) []byte {
		f := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, byte(kind >> 8), byte(kind)}
		return append(f, payload...)
	}
	const ip4, ip6, arp, vlan = 0x0800, 0x86dd, 0x0806, 0x8100
	udp := []byte{
		0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0, 172, 17, 0, 2, 172, 17, 255, 255,
		0, 9, 0, 9, 0, 9, 0, 0, 'x',
	}
	var frames [][]byte
	for _, kind := range []uint16{ip4, ip6, arp, vlan} {
		for n := range udp {
			frames = append(frames, ethernet(kind, udp[:n]...))
		}
	}
	long := append([]byte(nil), udp...)
	long[2], long[3] = 0xff, 0xff // longer than the frame
	short := append([]byte(nil), udp...)
	short[3] = 5 // shorter than its header
	options := append([]byte(nil), udp...)
	options[0] = 0x4f // more options than bytes
	frames = append(frames, ethernet(ip4, long...), ethernet(ip4, short...), ethernet(ip4, options...))
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		f := ethernet([]uint16{ip4, ip6, arp, vlan, uint16(random.Uint32())}[random.IntN(5)])
		for range random.IntN(120) {
			f = append(f, byte(random.Uint32()))
		}
		if len(f) > 14 && f[12] == 8 && f[13] == 0 {
			f[14] = 0x40 | f[14]&0xf
		}
		frames = append(frames, f)
	}

	w := startWatch(t, Config{})
	inject(t, back.Namespace(), "eth0", frames)
	w.until("they are counted", func() bool {
		n := w.session.Summary()
		return n.Malformed > 100 && n.Observations >= uint64(3*len(frames))
	})
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 3, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	w.journey("a ping after all that", whole("back", back.HostLink))
	if n := w.end(); n.RingDrops+n.QueueDrops != 0 {
		t.Errorf("%+v", n)
	}
}

// TestReaderThatDoesNotRead: records wait for nobody, and rings for no record.
func TestReaderThatDoesNotRead(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const room, pings = 8, 100
	records := make(chan Record, room)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, records) }()
	for seq := range uint16(pings) {
		if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 4, Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all journeys are made", func() bool { return s.Summary().Journeys >= 2*pings })
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(liveness):
		t.Fatal("the session waits for its reader for ever")
	}
	kept := 0
	for range records {
		kept++
	}
	n := s.Summary()
	if kept != room || n.QueueDrops < 2*pings-room {
		t.Errorf("%d records kept, %d dropped; %d journeys and room for %d", kept, n.QueueDrops, n.Journeys, room)
	}
	if n.RingDrops != 0 || n.Observations < 8*pings {
		t.Errorf("the rings had to wait: %+v", n)
	}
}

// TestLastJourneysAreShown: what is settled at the end reaches a reader that is
// slower than the end.
func TestLastJourneysAreShown(t *testing.T) {
	h := dockerHost(t)
	addBlackhole(t)
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}, Protocols: []packet.Protocol{packet.UDP}, Patience: liveness})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const room, sent = 32, 100 // room for what else happens
	records := make(chan Record, room)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, records) }()
	c, err := lab.DialUDP(h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(blackhole.Addr().Next(), 9))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range sent {
		if _, err := c.Write([]byte("pending until the end")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "they are pending", func() bool { return s.Summary().Observations >= 3*sent })
	stop()
	got := 0
	for r := range records {
		if r.Journey != nil && r.Journey.Verdict.Result == trace.Unfinished {
			got++
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got != sent || s.Summary().QueueDrops != 0 {
		t.Errorf("%d of %d pending journeys were shown at the end, %d dropped", got, sent, s.Summary().QueueDrops)
	}
}
