package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// cable is two namespaces with nothing in them but the ends of one veth.
type cable struct {
	left, right               *netns.Handle
	leftIndex, rightIndex     int32
	leftAddress, rightAddress netip.Addr
}

const sinkPort = 4799

// newCable lays a cable and has the right end listen on sinkPort, so that
// nothing answers with ICMP errors. Everything goes when the test ends.
func newCable(t testing.TB) *cable {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_RAW and CAP_SYS_ADMIN: run as root")
	}
	c := &cable{
		left: newNamespace(t), right: newNamespace(t),
		leftAddress: netip.MustParseAddr("192.0.2.1"), rightAddress: netip.MustParseAddr("192.0.2.2"),
	}
	left, right := handleAt(t, c.left), handleAt(t, c.right)
	must(t, addPair(left, "left", c.right))
	c.leftIndex = setUp(t, left, "left", c.leftAddress)
	c.rightIndex = setUp(t, right, "right", c.rightAddress)
	// Both know each other's MAC address, so that nothing but what a test
	// sends is on the cable.
	neighbour(t, left, "left", c.rightAddress, hardwareAddress(t, right, "right"))
	neighbour(t, right, "right", c.leftAddress, hardwareAddress(t, left, "left"))
	sink := c.listen(t)
	t.Cleanup(func() { sink.Close() })
	return c
}

func newNamespace(t testing.TB) *netns.Handle {
	t.Helper()
	ns, err := netns.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, ns.Do(func() error { // router solicitations and the like would blur the counts
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}))
	return ns
}

func handleAt(t testing.TB, ns *netns.Handle) *netlink.Handle {
	t.Helper()
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()))
	must(t, err)
	t.Cleanup(h.Close)
	return h
}

func setUp(t testing.TB, h *netlink.Handle, name string, address netip.Addr) int32 {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
	must(t, h.LinkSetUp(link))
	return int32(link.Attrs().Index)
}

// addPair makes a veth whose other end is called right, in another namespace.
func addPair(h *netlink.Handle, name string, other *netns.Handle) error {
	veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "right", PeerNamespace: netlink.NsFd(other.Fd())}
	veth.Name = name
	return h.LinkAdd(veth)
}

func neighbour(t testing.TB, h *netlink.Handle, name string, address netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	must(t, h.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: address.AsSlice(), HardwareAddr: mac,
	}))
}

func hardwareAddress(t testing.TB, h *netlink.Handle, name string) net.HardwareAddr {
	t.Helper()
	link, err := h.LinkByName(name)
	must(t, err)
	return link.Attrs().HardwareAddr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cable) listen(t testing.TB) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	must(t, c.right.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: c.rightAddress.AsSlice(), Port: sinkPort})
		return err
	}))
	return conn
}

// dial opens a socket on the left that sends to the sink on the right.
func (c *cable) dial(t testing.TB) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	must(t, c.left.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: c.rightAddress.AsSlice(), Port: sinkPort})
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// payload is of a size that goes with its number, so that sizes vary.
func payload(n int) []byte {
	b := make([]byte, 8+n%500)
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

// number reads what payload wrote, of datagrams to the sink.
func number(o *Observation) (n int, ok bool) {
	h := &o.Headers
	if !h.Layers.Has(packet.LayerUDP) || h.Tuple.DestinationPort != sinkPort || len(o.Data) < int(h.PayloadOffset)+8 {
		return 0, false
	}
	return int(binary.BigEndian.Uint64(o.Data[h.PayloadOffset:])), true
}

// inject sends a frame as it is, on the left.
func (c *cable) inject(t testing.TB, frame []byte) {
	t.Helper()
	must(t, c.left.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		to := unix.SockaddrLinklayer{Ifindex: int(c.leftIndex), Protocol: networkOrder(binary.BigEndian.Uint16(frame[12:]))}
		return unix.Sendto(fd, frame, 0, &to)
	}))
}

// recording is a Rings that runs, and what it has delivered.
type recording struct {
	*Rings
	cancel func()
	gate   sync.Mutex // the receiver takes it for every Batch
	ended  chan error
	once   sync.Once

	stolen time.Duration // before it began

	mu      sync.Mutex
	seen    []Observation
	lostIn  map[netns.ID]int
	through int64
	batches int
}

// record runs rings over the namespaces until the test ends or stop is called.
// Of every Batch it checks that none of its packets should have come earlier.
func record(t testing.TB, cfg Config, namespaces ...*netns.Handle) *recording {
	t.Helper()
	rings, err := NewRings(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &recording{Rings: rings, cancel: cancel, ended: make(chan error, 1), stolen: stolen(t), lostIn: make(map[netns.ID]int)}
	for _, ns := range namespaces {
		must(t, rings.Attach(ns))
	}
	out := make(chan Batch)
	received := make(chan struct{})
	go func() {
		err := rings.Run(ctx, out)
		close(out)
		<-received
		r.ended <- err
	}()
	go func() {
		defer close(received)
		for b := range out {
			r.gate.Lock()
			r.gate.Unlock() //nolint:staticcheck // only to wait
			r.take(t, b)
		}
	}()
	t.Cleanup(func() { r.stop(t) })
	return r
}

func (r *recording) take(t testing.TB, b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches++
	for i := range b.Observations {
		o := &b.Observations[i]
		if o.Time >= r.through {
			continue
		}
		// A processor that is taken away between stamping a packet and putting it into the
		// ring makes it late, for which nobody here can be blamed.
		if late, away := time.Duration(r.through-o.Time), stolen(t)-r.stolen; late > away {
			t.Errorf("a packet of %d came after Through %d, %v late; processors were away for %v", o.Time, r.through, late, away)
		}
	}
	if b.Through < r.through {
		t.Errorf("Through fell by %d ns", r.through-b.Through)
	}
	r.through = b.Through
	r.seen = append(r.seen, b.Observations...)
	for id, n := range b.Lost {
		r.lostIn[id] += int(n)
	}
}

// stolen is for how long other machines had the processors that this one was to have
// (proc_stat(5)).
func stolen(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	must(t, err)
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	_, err = fmt.Sscanf(string(stat), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal)
	must(t, err)
	const tick = 10 * time.Millisecond // USER_HZ, of all architectures that Go knows
	return time.Duration(steal) * tick
}

// stop ends the run; what it captured is then complete.
func (r *recording) stop(t testing.TB) {
	t.Helper()
	r.once.Do(func() {
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}

// waitThrough waits until everything before now has been delivered.
func (r *recording) waitThrough(t testing.TB) {
	t.Helper()
	now := time.Now().UnixNano()
	waitFor(t, "Through to pass the present", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.through > now
	})
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("gave up waiting for " + what)
}

// sighting is where a numbered datagram was seen.
type sighting struct {
	number int
	Point
	kind PacketType
}

func (s sighting) String() string {
	return fmt.Sprintf("datagram %d at %v ifindex %d %v as %v", s.number, s.Namespace, s.Ifindex, s.Direction, s.kind)
}

// sightings counts how often each numbered datagram was seen where.
func (r *recording) sightings() map[sighting]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := make(map[sighting]int)
	for i := range r.seen {
		o := &r.seen[i]
		if n, ok := number(o); ok {
			m[sighting{n, o.Point(), o.Type}]++
		}
	}
	return m
}
