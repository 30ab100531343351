package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// newResolver reads what the programs of the source's namespace read. A file that
// is not there says nothing, as for them.
func newResolver(s Source, self netns.ID, in *netns.Handle) *resolver {
	root := "/"
	switch {
	case s.Namespace.ID == self:
	case s.Container != nil && s.Container.PID > 0:
		root = fmt.Sprintf("/proc/%d/root", s.Container.PID)
	case len(s.Namespace.PIDs) > 0:
		root = fmt.Sprintf("/proc/%d/root", s.Namespace.PIDs[0])
	}
	r := &resolver{}
	f := openFiles(root)
	defer f.close()
	f.read("etc/hosts", func(f io.Reader) { r.hosts = readHosts(f) })
	f.read("etc/resolv.conf", func(f io.Reader) { r.servers, r.search = readResolvConf(f) })
	r.dial = func(ctx context.Context, server netip.AddrPort) (conn net.Conn, err error) {
		err = in.Do(func() (err error) {
			// Given an address, net makes the socket on the calling thread.
			conn, err = new(net.Dialer).DialContext(ctx, "udp", server.String())
			return err
		})
		return conn, err
	}
	return r
}

// files is the root of a file system that a container's own processes may have
// laid out: nothing in it leads outside, and nothing in it may block.
type files struct{ root *os.Root }

func openFiles(path string) files {
	root, err := os.OpenRoot(path)
	if err != nil {
		return files{} // it says nothing, as to a program that can't read it
	}
	return files{root}
}

func (f files) read(name string, take func(io.Reader)) {
	if f.root == nil {
		return
	}
	file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		take(io.LimitReader(file, 1<<20))
	}
}

func (f files) close() {
	if f.root != nil {
		_ = f.root.Close()
	}
}
