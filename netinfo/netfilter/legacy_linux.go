package netfilter

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// Options of a raw socket that tell a table (ip_tables.h, ip6_tables.h).
const (
	optionGetInfo    = 64 // IPT_SO_GET_INFO
	optionGetEntries = 65 // IPT_SO_GET_ENTRIES
)

// LegacyTables returns the tables that iptables-legacy has made in a
// namespace, without their rules. Asking the kernel for their content would
// create them; the list of their names in /proc does not.
func LegacyTables(ns *netns.Handle) (tables []LegacyTable, err error) {
	err = ns.Do(func() (err error) {
		tables, err = legacyTables()
		return err
	})
	return tables, err
}

// legacyTables lists those of the thread's namespace.
func legacyTables() (tables []LegacyTable, err error) {
	for _, list := range []struct{ family, path string }{
		{"ip", "/proc/thread-self/net/ip_tables_names"}, {"ip6", "/proc/thread-self/net/ip6_tables_names"},
	} {
		b, err := os.ReadFile(list.path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without iptables-legacy
		}
		if errors.Is(err, os.ErrPermission) {
			// The list is for the first user namespace's root alone. In
			// another one nobody can ask without registering the tables.
			continue
		}
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(strings.NewReader(string(b))); lines.Scan(); {
			tables = append(tables, LegacyTable{Family: list.family, Name: lines.Text()})
		}
	}
	return tables, nil
}

// readLegacy adds the tables of iptables-legacy. One that can't be read is named
// with its reason, and is no error.
func (r *Ruleset) readLegacy(ns *netns.Handle) error {
	return ns.Do(func() error {
		list, err := legacyTables()
		if err != nil {
			return err
		}
		for i := range list {
			t, err := readLegacyTable(list[i].Family, list[i].Name)
			if err != nil {
				list[i].Unreadable = err.Error()
				continue
			}
			r.tables[tableKey{list[i].Family, list[i].Name, true}] = t
		}
		r.legacy = list
		return nil
	})
}

func readLegacyTable(family, name string) (*table, error) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return nil, errors.New("only programs of 64 bits can")
	}
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if family == "ip6" {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open raw socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	const tries = 10
	for range tries {
		request := make([]byte, 84)
		copy(request[:31], name)
		if err := getSocketOption(fd, level, optionGetInfo, request); err != nil {
			return nil, fmt.Errorf("ask for its size: %w", err)
		}
		info, _ := decodeLegacyInfo(request)
		const header = 40 // name and size, aligned
		request = make([]byte, header+info.byteSize)
		copy(request[:31], name)
		binary.NativeEndian.PutUint32(request[32:], info.byteSize)
		err := getSocketOption(fd, level, optionGetEntries, request)
		if errors.Is(err, unix.EAGAIN) {
			continue // it has another size by now
		}
		if err != nil {
			return nil, fmt.Errorf("ask for its rules: %w", err)
		}
		return decodeLegacy(family, name, info, request[header:])
	}
	return nil, errChanged
}

// getSocketOption fills b, which must not be empty, as getsockopt(2) does.
func getSocketOption(fd, level, option int, b []byte) error {
	length := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
