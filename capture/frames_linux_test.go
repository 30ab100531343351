package capture

import (
	"bytes"
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
)

func TestTaggedFramesAreSeenAsTheyWereOnTheLink(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{Protocols: []packet.Protocol{packet.UDP}}, c.left, c.right)
	single := ethernetUDP([]byte("one tag"), 0x8100, 0x6064)
	double := ethernetUDP([]byte("two tags"), 0x88a8, 0x0007, 0x8100, 0x0008)
	for _, frame := range [][]byte{single, double} {
		c.inject(t, frame)
	}
	r.stop(t)
	// The left end has the tags in the bytes, on the right the kernel has taken
	// the outer one out.
	for _, want := range []struct {
		frame []byte
		vlan  uint16
	}{{single, 100}, {double, 7}} {
		for _, ns := range []struct {
			Point
			name string
		}{{Point{c.left.ID(), c.leftIndex, Out}, "left"}, {Point{c.right.ID(), c.rightIndex, In}, "right"}} {
			found := 0
			for i := range r.seen {
				o := &r.seen[i]
				if o.Point() != ns.Point || !bytes.Equal(o.Data, want.frame) {
					continue
				}
				found++
				if !o.Headers.Layers.Has(packet.LayerVLAN) || o.Headers.VLAN != want.vlan || int(o.WireLength) != len(want.frame) {
					t.Errorf("%s: layers %b, VLAN %d, wire length %d", ns.name, o.Headers.Layers, o.Headers.VLAN, o.WireLength)
				}
			}
			if found != 1 {
				t.Errorf("VLAN %d was seen %d times on the %s, want once", want.vlan, found, ns.name)
			}
		}
	}
}

func TestSnaplenIsHonouredAndLengthKept(t *testing.T) {
	for _, snaplen := range []int{20, 200, MaxSnaplen} {
		c := newCable(t)
		r := record(t, Config{Snaplen: snaplen}, c.right)
		frame := withEthernet(0x88b5, bytes.Repeat([]byte("local experiment "), 80)) // IEEE 802
		c.inject(t, frame)
		r.stop(t)
		if len(r.seen) != 1 {
			t.Fatalf("snap length %d: %d packets, want 1", snaplen, len(r.seen))
		}
		o := &r.seen[0]
		if want := frame[:min(snaplen, len(frame))]; !bytes.Equal(o.Data, want) || int(o.WireLength) != len(frame) {
			t.Errorf("snap length %d: %d bytes of %d, want %d of %d", snaplen, len(o.Data), o.WireLength, len(want), len(frame))
		}
	}
}

// The emulator of filter_test.go is not the kernel.
func TestKernelFilterPassesWhatItMust(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{Protocols: []packet.Protocol{packet.ICMP}}, c.left, c.right)
	frames := []struct {
		name  string
		bytes []byte
		pass  bool
	}{
		{"UDP", ethernetUDP([]byte("no")), false},
		{"ICMP", withEthernet(0x0800, append([]byte{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9}, make([]byte, 8)...)), true},
		{"tagged UDP in tagged", ethernetUDP([]byte("yes"), 0x88a8, 1, 0x8100, 2), true},
		{"ARP", withEthernet(0x0806, append([]byte{0, 1, 8, 0, 6, 4, 0, 2}, make([]byte, 20)...)), true},
		{"IPv6 fragment", withEthernet(0x86dd, ipv6(44, 58, 0, 0, 1, 0, 0, 0, 9)), true},
		{"IPv6 UDP", withEthernet(0x86dd, ipv6(17, 0, 1, 0, 2, 0, 8, 0, 0)), false},
		{"neighbour advertisement", withEthernet(0x86dd, ipv6(58, append([]byte{136}, make([]byte, 23)...)...)), true},
		{"a local experiment", withEthernet(0x88b5, []byte("experiment")), true},
	}
	for _, f := range frames {
		c.inject(t, f.bytes)
	}
	r.stop(t)
	for _, f := range frames {
		found := 0
		for i := range r.seen {
			if bytes.Equal(r.seen[i].Data, f.bytes) {
				found++
			}
		}
		want := 0
		if f.pass {
			want = 2
		}
		if found != want {
			t.Errorf("%s: seen %d times, want %d", f.name, found, want)
		}
	}
}

func TestTunnelFramesBeginWithIP(t *testing.T) {
	c := newCable(t)
	var tun *os.File
	must(t, c.left.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		req, err := unix.NewIfreq("tunnel")
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			return err
		}
		tun = os.NewFile(uintptr(fd), "tun")
		return nil
	}))
	defer tun.Close()
	h := handleAt(t, c.left)
	link, err := h.LinkByName("tunnel")
	must(t, err)
	must(t, h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(198, 51, 100, 1).To4(), Mask: net.CIDRMask(24, 32)}}))
	must(t, h.LinkSetUp(link))

	r := record(t, Config{Protocols: []packet.Protocol{packet.UDP}}, c.left)
	in := ipv4UDP([]byte("in by the tunnel"))
	if _, err := tun.Write(in); err != nil {
		t.Fatal(err)
	}
	var out *net.UDPConn
	must(t, c.left.Do(func() (err error) {
		out, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(198, 51, 100, 2), Port: 9})
		return err
	}))
	defer out.Close()
	if _, err := out.Write([]byte("out by the tunnel")); err != nil {
		t.Fatal(err)
	}
	r.stop(t)
	var got []string
	for i := range r.seen {
		o := &r.seen[i]
		if int(o.Ifindex) != link.Attrs().Index {
			continue
		}
		if o.LinkType != packet.RawIP || !o.Headers.Layers.Has(packet.LayerIPv4|packet.LayerUDP) || int(o.WireLength) != len(o.Data) {
			t.Errorf("link type %v, layers %b, wire length %d of %d", o.LinkType, o.Headers.Layers, o.WireLength, len(o.Data))
			continue
		}
		got = append(got, o.Direction().String()+" "+string(o.Data[o.Headers.PayloadOffset:]))
	}
	if want := []string{"in in by the tunnel", "out out by the tunnel"}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("seen: %q, want %q", got, want)
	}
}
