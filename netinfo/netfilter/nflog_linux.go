package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

const (
	subsystemLog = 4 // NFNL_SUBSYS_ULOG
	logPacket    = 0 // NFULNL_MSG_PACKET
	logConfig    = 1 // NFULNL_MSG_CONFIG
	flagAck      = 0x4

	// What is logged without a number comes to group 0. 160 bytes hold all
	// headers that count.
	loggedBytes = 160
)

// openLog listens to what is logged in ns by netlink. One program can do so at a
// time: another one's is EBUSY.
func openLog(ns *netns.Handle, buffer int) (*socket, error) {
	s, err := openSocket(ns, 0, buffer)
	if err != nil {
		return nil, err
	}
	attribute := func(kind uint16, data ...byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, data...)
		return append(b, make([]byte, -len(b)&3)...)
	}
	in := newReceiver(1, dumpDatagramSize)
	for _, attrs := range [][]byte{
		attribute(1, 1),                          // NFULA_CFG_CMD: bind
		attribute(2, 0, 0, 0, loggedBytes, 2, 0), // NFULA_CFG_MODE: copy packets
		attribute(5, 0, 0, 0, 1),                 // NFULA_CFG_QTHRESH: tell of each at once
	} {
		if err := s.acknowledged(in, subsystemLog, logConfig, attrs); err != nil {
			return nil, errors.Join(fmt.Errorf("listen to log: %w", err), s.close())
		}
	}
	return s, nil
}

// acknowledged sends a request and returns the kernel's answer.
func (s *socket) acknowledged(in *receiver, subsystem, sub uint8, attrs []byte) error {
	if err := s.request(subsystem, sub, flagAck, 0, attrs); err != nil {
		return err
	}
	n, err := in.receive(s)
	if err != nil {
		return err
	}
	for i := range n {
		data, _ := in.datagram(i)
		for len(data) > 0 {
			m, rest, ok := nextMessage(data)
			if !ok {
				break
			}
			if data = rest; m.kind == messageError && len(m.payload) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(m.payload)); code != 0 {
					return unix.Errno(-code)
				}
				return nil
			}
		}
	}
	return nil // packets only: the answer is among those that come next
}
