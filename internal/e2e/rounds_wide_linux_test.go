package e2e

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/netinfo/netns"
)

// trains hands several datagrams over in one packet, more than a link takes and
// less. The uplink cuts them; front's are cut before, and may be merged between.
func (c *cast) trains(name string) {
	c.everyone(func(in *netns.Handle, _ string) {
		for _, to := range []netip.AddrPort{to(internet, portTrains), to(world6, portTrains)} {
			c.train(name, in, to)
		}
	})
	c.train(name, c.e.Internet(), to(hostAddress, 5000)) // published
}

func (c *cast) train(name string, in *netns.Handle, to netip.AddrPort) {
	u := c.dial(name, in, netip.AddrPort{}, to)
	if u == nil {
		return
	}
	defer u.Close()
	for _, size := range []struct{ each, of int }{{1000, 5}, {400, 3}} {
		c.control(u, unix.SOL_UDP, unix.UDP_SEGMENT, size.each)
		for range 3 {
			number := c.next()
			var words []byte
			for n := range size.of {
				words = append(words, oracletest.Train(number, n, size.of, size.each)...)
			}
			_, err := u.Write(words[:len(words)-100]) // the last is smaller
			c.must(err)
		}
	}
}

// extended asks with headers between IPv6 and UDP.
func (c *cast) extended(name string) {
	pad := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // PadN (RFC 8200, section 4.2)
	c.everyone(func(in *netns.Handle, _ string) {
		for _, option := range []int{unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS} {
			u := c.dial(name, in, netip.AddrPort{}, to(world6, 5000))
			if u == nil {
				return
			}
			raw, err := u.SyscallConn()
			c.must(err)
			c.must(raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, option, pad) }))
			c.must(err)
			for i := range 5 {
				_, err := lab.Exchange(context.Background(), u, c.words(20+i*30))
				c.must(err)
			}
			_, err = lab.Exchange(context.Background(), u, c.words(3000))
			c.must(err)
			c.must(u.Close())
		}
	})
}

// unnumbered sends datagrams without an identification: they may not be cut, and the
// socket is connected to nobody.
func (c *cast) unnumbered(name string, in *netns.Handle, who string, to netip.AddrPort, n int) {
	from := netip.AddrPortFrom(c.ip[who], c.number())
	u, err := lab.ListenUDP(in, from)
	c.must(err)
	if err != nil {
		return
	}
	defer u.Close()
	c.control(u, syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
	c.belongs(name, 17, from)
	for i := range n {
		_, err := u.WriteToUDPAddrPort(c.words(20+i*30), to)
		c.must(err)
	}
}

// shuffled sends what no stack does: each frame twice, pairs in the wrong order, and
// fragments from the last to the first.
func (c *cast) shuffled(name string) {
	in, who := c.spaces["back"], "back"
	from := to(c.ip[who], c.number())
	c.belongs(name, 17, from)
	frame := func(id uint16, size int) []byte {
		return c.frame(who, id, from, to(internet, portShuffled), c.words(size))
	}
	var frames [][]byte
	for i := range uint16(4) {
		f := frame(100+i, 40)
		frames = append(frames, f, f)
	}
	for i := range uint16(4) {
		first, second := frame(200+2*i, 40), frame(201+2*i, 40)
		frames = append(frames, second, first)
	}
	for i := range uint16(3) {
		pieces := fragmentsOf(frame(300+i, 3000), 1480)
		slices.Reverse(pieces)
		frames = append(frames, pieces...)
	}
	c.must(in.Do(func() error { return sendFrames("eth0", frames) }))
}

// frame is a datagram as a container's link sends it to its gateway.
func (c *cast) frame(who string, id uint16, from, to netip.AddrPort, words []byte) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: id, Protocol: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	u := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	c.must(u.SetNetworkLayerForChecksum(ip))
	b := gopacket.NewSerializeBuffer()
	c.must(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: c.mac[who], DstMAC: c.mac["docker0"], EthernetType: layers.EthernetTypeIPv4}, ip, u, gopacket.Payload(words)))
	return b.Bytes()
}

// fragmentsOf cuts a frame into fragments with so many bytes (RFC 791, section 3.2).
func fragmentsOf(frame []byte, size int) (fragments [][]byte) {
	const ethernet, header = 14, 20
	data := frame[ethernet+header:]
	for offset := 0; offset < len(data); offset += size {
		end := min(offset+size, len(data))
		ip := &layers.IPv4{}
		if err := ip.DecodeFromBytes(frame[ethernet:], gopacket.NilDecodeFeedback); err != nil {
			panic(err) // this test made it
		}
		ip.FragOffset = uint16(offset / 8)
		if end < len(data) {
			ip.Flags = layers.IPv4MoreFragments
		}
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, gopacket.Payload(data[offset:end])); err != nil {
			panic(err)
		}
		fragments = append(fragments, append(slices.Clone(frame[:ethernet]), b.Bytes()...))
	}
	return fragments
}

// sendFrames sends by a link of the namespace that it runs in, past its protocol stack.
func sendFrames(link string, frames [][]byte) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: l.Index}); err != nil {
			return err
		}
	}
	return nil
}
