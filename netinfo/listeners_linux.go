package netinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"natlens/netinfo/netns"
)

// Listeners returns the TCP and UDP sockets that wait in the namespace n, by
// port. It needs CAP_SYS_ADMIN to enter a namespace; the one natlens runs in
// (own is its identity) anyone may read. A namespace that has gone or was
// replaced since the Topology was made is an error that matches fs.ErrNotExist.
func Listeners(n *Namespace, own netns.ID) ([]Listener, error) {
	if n.ID == own {
		return readListeners("/proc/thread-self/net")
	}
	err := fmt.Errorf("sockets of %s: no way in: %w", n.Name, fs.ErrNotExist)
	for _, path := range n.Paths {
		var found []Listener
		found, err = listenersAt(path, n.ID)
		if err == nil {
			return found, nil
		}
		err = fmt.Errorf("sockets of %s: %w", n.Name, err)
	}
	return nil, err
}

// listenersAt reads the sockets of the namespace at path, if it is still the
// one that is meant.
func listenersAt(path string, want netns.ID) (found []Listener, err error) {
	h, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if h.ID() != want {
		return nil, fmt.Errorf("%s is now %v: %w", path, h.ID(), fs.ErrNotExist)
	}
	err = h.Do(func() error {
		var err error
		// thread-self, because only this thread is in the namespace.
		found, err = readListeners("/proc/thread-self/net")
		return err
	})
	return found, err
}

// readListeners reads the four tables in a directory like /proc/self/net. A
// kernel without IPv6 has no tcp6 and udp6.
func readListeners(dir string) ([]Listener, error) {
	var all []Listener
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		found, err := readTable(filepath.Join(dir, table), strings.TrimSuffix(table, "6"))
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(table, "6") {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	sortListeners(all)
	return all, nil
}

func readTable(path, protocol string) (found []Listener, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return decodeListeners(f, protocol)
}
