package netinfo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchedGroups are the rtnetlink groups that announce what a Topology shows
// (rtnetlink(7), linux/rtnetlink.h).
const watchedGroups = 1<<(unix.RTNLGRP_LINK-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1) |
	1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1) |
	1<<(unix.RTNLGRP_NSID-1)

// subscription is a socket that hears when something changes in a namespace.
// It does not say what: a dump says that, and cannot miss anything.
type subscription struct {
	file *os.File
}

// subscribe opens a subscription in the namespace of the calling thread.
func subscribe() (*subscription, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe: socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: watchedGroups}); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe: bind: %w", err), unix.Close(fd))
	}
	return &subscription{os.NewFile(uintptr(fd), "rtnetlink")}, nil
}

// listen calls changed for every announcement until the subscription is
// closed. ids says that the meaning of namespace ids changed, too. An overrun
// (ENOBUFS) is an announcement like any other: that there is something to read.
func (s *subscription) listen(changed func(ids bool)) {
	// Only the types of the messages are looked at, so that those that don't
	// fit may be cut off.
	buffer := make([]byte, 8192)
	for {
		n, err := s.file.Read(buffer)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			changed(true)
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		default:
			changed(announcesIDs(buffer[:n]))
		}
	}
}

// announcesIDs reports whether one of the messages is about namespace ids.
func announcesIDs(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(b))
		if t := binary.NativeEndian.Uint16(b[4:]); t == unix.RTM_NEWNSID || t == unix.RTM_DELNSID {
			return true
		}
		next := (length + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		if next < unix.SizeofNlMsghdr || next >= len(b) {
			return false
		}
		b = b[next:]
	}
	return false
}

func (s *subscription) close() {
	_ = s.file.Close() // nothing is written, so nothing is lost
}
