package netinfo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// Sizes of struct inet_diag_req_v2 and struct inet_diag_msg, and offsets in them
// (include/uapi/linux/inet_diag.h).
const (
	diagRequestSize = 56
	diagAnswerSize  = 72
	diagInode       = 68
	noCookie        = 1<<32 - 1 // INET_DIAG_NOCOOKIE
)

// Holder returns which of the processes holds the socket of c: 0 when none of
// them does. All must be in one network namespace, that of the socket. It asks
// for that one socket by sock_diag(7), and looks at the descriptors of those
// processes alone. The error matches fs.ErrNotExist when there is no such socket,
// or none that a program has got yet, and os.ErrPermission where this user may
// not look. Needs CAP_SYS_PTRACE and, for another namespace, CAP_SYS_ADMIN.
func Holder(c Connection, pids []int) (pid int, err error) {
	if len(pids) == 0 {
		return 0, nil
	}
	inode, err := socketInode(c, pids[0])
	if err != nil {
		return 0, fmt.Errorf("socket of %v: %w", c, err)
	}
	for _, pid := range pids {
		held, err := holds(pid, inode)
		if held {
			return pid, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("socket of %v: %w", c, err)
		}
	}
	return 0, nil
}

// HoldingContainer returns the container, of those with these ids, of which a process
// holds the socket of c, or, where there is none (any more), the one that listens at
// its local end, and that process; "" when none does. The socket is in the namespace
// of the calling process. Errors are those of Holder.
func HoldingContainer(c Connection, ids []string) (id string, pid int, err error) {
	inode, err := socketInode(c, os.Getpid())
	if err != nil {
		inode, err = socketInode(Connection{Protocol: c.Protocol, Local: c.Local}, os.Getpid())
	}
	if err != nil {
		return "", 0, fmt.Errorf("socket of %v: %w", c, err)
	}
	// A pattern that is well-formed never fails; what ends meanwhile is absent.
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		id := cgroupContainer(readProcessFile(pid, "cgroup"))
		if !slices.Contains(ids, id) {
			continue
		}
		held, err := holds(pid, inode)
		if held {
			return id, pid, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", 0, fmt.Errorf("socket of %v: %w", c, err)
		}
	}
	return "", 0, nil
}

// holds reports whether a process has a descriptor of the socket.
func holds(pid int, inode uint64) (bool, error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	descriptors, err := os.ReadDir(folder)
	if err != nil {
		return false, err
	}
	want := fmt.Sprintf("socket:[%d]", inode)
	for _, d := range descriptors {
		if target, err := os.Readlink(filepath.Join(folder, d.Name())); err == nil && target == want {
			return true, nil
		}
	}
	return false, nil
}

// socketInode asks the kernel in the process's namespace.
func socketInode(c Connection, pid int) (inode uint64, err error) {
	own, err := netns.Current()
	if err != nil {
		return 0, err
	}
	defer own.Close()
	there, err := netns.OfProcess(pid)
	if err != nil {
		return 0, err
	}
	defer there.Close()
	config := &netlink.Config{}
	if there.ID() != own.ID() {
		config.NetNS = there.Fd()
	}
	conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: netlink.Request},
		Data:   diagRequest(c),
	})
	if err != nil {
		return 0, err
	}
	for _, a := range answers {
		if n, ok := inodeIn(a.Data); ok {
			inode = n
		}
	}
	if inode == 0 {
		return 0, fs.ErrNotExist // not accepted yet, or closed
	}
	return inode, nil
}

// inodeIn is the socket's in an answer; 0 of one that no program has.
func inodeIn(answer []byte) (inode uint64, ok bool) {
	if len(answer) < diagAnswerSize {
		return 0, false
	}
	return uint64(binary.NativeEndian.Uint32(answer[diagInode:])), true
}

// diagRequest is a request for one socket. For UDP source and destination stand
// the other way round (net/ipv4/udp_diag.c, udp_dump_one).
func diagRequest(c Connection) []byte {
	b := make([]byte, diagRequestSize)
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if c.Local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	near, far := c.Local, c.Remote
	if c.Protocol == "udp" {
		b[1] = unix.IPPROTO_UDP
		near, far = far, near
	}
	binary.NativeEndian.PutUint32(b[4:], 1<<32-1) // any state
	put := func(port, address int, a netip.AddrPort) {
		binary.BigEndian.PutUint16(b[port:], a.Port())
		if a.Addr().IsValid() {
			copy(b[address:], a.Addr().AsSlice())
		}
	}
	put(8, 12, near)
	put(10, 28, far)
	binary.NativeEndian.PutUint32(b[48:], noCookie)
	binary.NativeEndian.PutUint32(b[52:], noCookie)
	return b
}
