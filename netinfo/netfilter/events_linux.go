package netfilter

import (
	"errors"
	"io/fs"
	"os"

	"natlens/netinfo/netns"
)

// eventSetting is net.netfilter.nf_conntrack_events of one namespace
// (Documentation/networking/nf_conntrack-sysctl.rst): 0 tells nobody of flows that
// begin, 1 makes them all ready to be told of, 2 those that begin while somebody
// listens. The file stays that of its namespace wherever it is read.
type eventSetting struct{ file *os.File }

// openEventSetting opens the setting. Where it is hidden, as from a user
// namespace, or not there, it says nothing and is taken for on.
func openEventSetting(ns *netns.Handle) (s eventSetting, err error) {
	err = ns.Do(func() (err error) {
		s.file, err = os.Open("/proc/sys/net/netfilter/nf_conntrack_events")
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return eventSetting{}, nil
	}
	return s, err
}

// off reports whether the kernel tells no events.
func (s eventSetting) off() bool {
	if s.file == nil {
		return false
	}
	var b [1]byte
	n, _ := s.file.ReadAt(b[:], 0) // what went with its namespace is not read
	return n == 1 && b[0] == '0'
}

func (s eventSetting) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
