package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/gopacket"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// Source is one ring, on all links of one network namespace, as gopacket reads
// packets: a gopacket.PacketDataSource and a gopacket.ZeroCopyPacketDataSource.
// Each CaptureInfo's AncillaryData holds one Ancillary.
//
// Links differ in their first header: gopacket's decoder for packets whose
// Ancillary says packet.Ethernet is layers.LayerTypeEthernet, for packet.RawIP
// it is that of the IP version in the first byte.
//
// One goroutine may read at a time. Close may be called by another; the read
// that it interrupts returns io.EOF.
type Source struct {
	namespace netns.ID
	snaplen   int
	wake      int // an eventfd that Close makes readable
	closing   sync.Once

	mu     sync.Mutex // held while reading
	member *member
	walk   frames // over the current block
	ours   bool   // the current block has been handed over and not released
	retag  []byte // a packet with its tag put back
	drops  uint64
	closed bool
}

// Ancillary is what a Source knows of a packet beyond gopacket.CaptureInfo.
type Ancillary struct {
	Namespace netns.ID
	Ifindex   int32
	Type      PacketType
	LinkType  packet.LinkType // packet.Ethernet or packet.RawIP
	// Tagged: the kernel had moved a tag out of the bytes, VLAN is its 12-bit
	// id. In the bytes it is back in its place.
	Tagged bool
	VLAN   uint16
	// Drops counts the packets that found the ring full since it was opened.
	// While nothing hints at losses it may be 100 ms old.
	Drops uint64
}

// OpenSource opens a ring in ns, which may be closed afterwards. The ring takes
// the first share of cfg.Budget. Errors are as those of Rings.Attach.
func OpenSource(ns *netns.Handle, cfg Config) (*Source, error) {
	s, err := openSource(ns, cfg)
	if err != nil {
		return nil, fmt.Errorf("open ring %s: %w", ns.ID(), err)
	}
	return s, nil
}

func openSource(ns *netns.Handle, cfg Config) (*Source, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := budget{left: cfg.Budget}
	shape, err := b.take(cfg.Snaplen)
	if err != nil {
		return nil, err
	}
	own, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	r, err := openRingIn(ns, own.ID(), filterProgram(cfg.Protocols, cfg.Snaplen), shape)
	if err != nil {
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("eventfd: %w", err), r.close())
	}
	if err := r.start(); err != nil {
		return nil, errors.Join(err, r.close(), unix.Close(wake))
	}
	return &Source{namespace: ns.ID(), snaplen: cfg.Snaplen, wake: wake, member: newMember(r, ns.ID())}, nil
}

// ReadPacketData returns the next packet in memory of its own, and io.EOF after
// Close.
func (s *Source) ReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, info, err := s.read()
	return bytes.Clone(data), info, err
}

// ZeroCopyReadPacketData returns the next packet as it lies in the ring, and
// io.EOF after Close. The bytes are valid until the next read or Close: touching
// them after Close is a fault that the program does not survive.
func (s *Source) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read()
}

func (s *Source) read() ([]byte, gopacket.CaptureInfo, error) {
	var f frame
	if err := s.next(&f); err != nil {
		return nil, gopacket.CaptureInfo{}, err
	}
	data := f.bytes
	if f.tagged {
		s.retag = f.appendTo(s.retag[:0])
		data = s.retag
	}
	data = data[:min(len(data), s.snaplen)]
	info := gopacket.CaptureInfo{
		Timestamp:      time.Unix(0, f.time),
		CaptureLength:  len(data),
		Length:         int(f.wireLength()),
		InterfaceIndex: int(f.ifindex),
		AncillaryData: []any{Ancillary{
			Namespace: s.namespace, Ifindex: f.ifindex, Type: f.pktType, LinkType: f.link(),
			Tagged: f.tagged, VLAN: f.tci & 0xfff, Drops: s.drops,
		}},
	}
	return data, info, nil
}

// next waits for the next frame.
func (s *Source) next(f *frame) error {
	for !s.closed {
		if s.ours {
			if s.walk.next(f) {
				return nil
			}
			s.drops += uint64(s.walk.left)
			s.member.release()
			s.ours = false
		}
		block, losing, ok := s.member.ready()
		if !ok {
			if err := s.wait(); err != nil {
				return err
			}
			continue
		}
		s.walk, s.ours = framesOf(block), true
		s.member.suspect = s.member.suspect || losing
		lost, err := s.member.lost(false)
		if err != nil {
			return err
		}
		s.drops += lost
	}
	return io.EOF
}

// wait returns when a block is ready, and io.EOF when Close wants the ring.
func (s *Source) wait() error {
	ready := []unix.PollFd{
		{Fd: int32(s.member.fd), Events: unix.POLLIN},
		{Fd: int32(s.wake), Events: unix.POLLIN},
	}
	if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("wait for packets: %w", err)
	}
	if ready[1].Revents != 0 {
		return io.EOF
	}
	return nil
}

// Close ends a read that waits, and releases the ring.
func (s *Source) Close() error {
	var err error
	s.closing.Do(func() {
		one := [8]byte{7: 1} // any number but zero
		_, err = unix.Write(s.wake, one[:])
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		err = errors.Join(err, s.member.close(), unix.Close(s.wake))
	})
	if err != nil {
		return fmt.Errorf("close ring %s: %w", s.namespace, err)
	}
	return nil
}
