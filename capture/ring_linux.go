package capture

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// ring is one TPACKET_V3 receive ring on all links of one network namespace
// (Documentation/networking/packet_mmap.rst). It needs Linux 3.2.
//
// Its socket belongs to the namespace it was opened in, and keeps that
// namespace alive. One goroutine may read it; start, mute and losses may be
// called meanwhile by another.
type ring struct {
	fd int
	blockQueue
}

// openRingIn makes a ring in ns; own is the namespace of this process.
func openRingIn(ns *netns.Handle, own netns.ID, filter []bpf.Instruction, g geometry) (*ring, error) {
	if ns.ID() == own {
		// setns(2) asks for CAP_SYS_ADMIN even for the namespace one is in.
		return openRing(filter, g)
	}
	var r *ring
	err := ns.Do(func() (err error) {
		r, err = openRing(filter, g)
		return err
	})
	return r, err
}

// openRing makes a ring in the namespace of the calling thread. No packet enters
// it before start. Errors match os.ErrPermission where CAP_NET_RAW is missing.
//
// The protocol is 0 at first because a socket that is opened with one receives
// at once: packets that nothing has filtered, into a queue that is no ring yet.
func openRing(filter []bpf.Instruction, g geometry) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	mem, err := mapRing(fd, filter, g)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &ring{fd: fd, blockQueue: newBlockQueue(mem, g)}, nil
}

// mapRing sets up the socket in the one order that the kernel takes: filter,
// version, ring, memory.
func mapRing(fd int, filter []bpf.Instruction, g geometry) ([]byte, error) {
	if err := attachFilter(fd, filter); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, fmt.Errorf("set TPACKET_V3: %w", err)
	}
	// Frames vary in size; the kernel only checks that this one divides the
	// blocks evenly.
	const frameSize = 2048
	req := unix.TpacketReq3{
		Block_size:     uint32(g.blockSize),
		Block_nr:       uint32(g.blocks),
		Frame_size:     frameSize,
		Frame_nr:       uint32(g.size() / frameSize),
		Retire_blk_tov: uint32(g.retire().Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return nil, fmt.Errorf("make %d blocks of %d bytes: %w", g.blocks, g.blockSize, err)
	}
	mem, err := unix.Mmap(fd, 0, g.size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", g.size(), err)
	}
	return mem, nil
}

func attachFilter(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		code[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

// start lets packets in, from every link there is and every link to come.
func (r *ring) start() error {
	all := unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)}
	if err := unix.Bind(r.fd, &all); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// networkOrder swaps a number on hosts that keep the low byte first.
func networkOrder(n uint16) uint16 {
	var b [2]byte
	b[0], b[1] = byte(n>>8), byte(n)
	return native.Uint16(b[:])
}

// mute lets no more packets in.
func (r *ring) mute() error {
	return attachFilter(r.fd, []bpf.Instruction{bpf.RetConstant{Val: 0}})
}

// losses returns how many packets found the ring full since the last call.
func (r *ring) losses() (uint64, error) {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read ring statistics: %w", err)
	}
	return uint64(s.Drops), nil
}

// close gives memory and socket back; no slice of the ring may be used any
// more. The kernel waits for its readers of the socket: 20 to 30 ms.
func (r *ring) close() error {
	return errors.Join(unix.Munmap(r.mem), unix.Close(r.fd))
}

// blockQueue is the memory of a ring as its reader sees it: blocks that the
// kernel hands over in turn and takes back in turn. It is the only place where
// memory is shared with the kernel.
type blockQueue struct {
	mem      []byte
	geometry geometry
	next     int // the block that is handed over next
}

func newBlockQueue(mem []byte, g geometry) blockQueue {
	return blockQueue{mem: mem, geometry: g}
}

func (q *blockQueue) current() []byte {
	begin := q.next * q.geometry.blockSize
	return q.mem[begin : begin+q.geometry.blockSize]
}

// word returns a number in the header of the current block that the kernel
// writes while we look at it.
func (q *blockQueue) word(offset int) *uint32 {
	return (*uint32)(unsafe.Pointer(&q.current()[offset]))
}

// ready returns the current block when the kernel has handed it over. It stays
// ours until release.
func (q *blockQueue) ready() (block []byte, losing, ok bool) {
	status := atomic.LoadUint32(q.word(blockStatus))
	if status&statusUser == 0 {
		return nil, false, false
	}
	return q.current(), status&statusLosing != 0, true
}

// release hands the current block back to the kernel, with its count of packets
// set to zero for held to look at, and goes on to the next.
func (q *blockQueue) release() {
	atomic.StoreUint32(q.word(blockPackets), 0)
	atomic.StoreUint32(q.word(blockStatus), 0)
	q.next = (q.next + 1) % q.geometry.blocks
}

// held reports whether the kernel keeps packets in the current block that it
// has not handed over yet, and if so, since when it has been filling the block,
// in nanoseconds since the Unix epoch: no packet in it entered earlier.
//
// The kernel counts a packet in the block's header as soon as it has made room
// for it (net/packet/af_packet.c, prb_fill_curr_block), and writes the time when
// it opens the block, with a barrier in between (prb_open_block).
func (q *blockQueue) held() (since int64, ok bool) {
	if atomic.LoadUint32(q.word(blockPackets)) == 0 {
		return 0, false
	}
	seconds := atomic.LoadUint32(q.word(blockOpenSeconds))
	nanos := atomic.LoadUint32(q.word(blockOpenNanos))
	return int64(seconds)*1e9 + int64(nanos), true
}
