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
type ID uint64

// String returns the form that ls -l /proc/PID/ns/net shows: net:[4026531840].
func (id ID) String() string {
	return "net:[" + strconv.FormatUint(uint64(id), 10) + "]"
}
