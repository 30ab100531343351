// Package netns names network namespaces and runs code inside them.
//
// A network namespace is state of a thread, not of a process
// (network_namespaces(7)). Everything here therefore enters a namespace on a
// thread of its own that is thrown away afterwards: no other goroutine can
// ever be scheduled onto a thread that stands in the wrong namespace.
package netns

import "strconv"

// ID is the inode number of a network namespace on the nsfs file system. It is
// unique among the namespaces that live at one moment; the kernel may reuse it
// after the namespace has died. The zero ID names no namespace.
//
// Where files of several hosts are read together, the bits above the inode number,
// which has 32 (struct ns_common, include/linux/ns_common.h), count the hosts: see
// On. They are 0 for what is on the host that natlens runs on.
type ID uint64

// inodeBits is how many bits an inode number of nsfs has.
const inodeBits = 32

// String returns the form that ls -l /proc/PID/ns/net shows: net:[4026531840].
func (id ID) String() string {
	return "net:[" + strconv.FormatUint(id.Inode(), 10) + "]"
}

// Inode returns the inode number alone.
func (id ID) Inode() uint64 { return uint64(id) & (1<<inodeBits - 1) }

// On returns the ID of the namespace with the same inode number on another host.
// The zero ID stays zero.
func (id ID) On(host uint32) ID {
	if id == 0 {
		return 0
	}
	return ID(uint64(host)<<inodeBits | id.Inode())
}

// Host returns the number that On was given.
func (id ID) Host() uint32 { return uint32(id >> inodeBits) }
