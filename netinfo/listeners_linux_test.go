package netinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// TestListenersAgreesWithSS opens sockets of each kind in a namespace that only
// this test has, and compares with what ss prints there.
func TestListenersAgreesWithSS(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN: run as root")
	}
	ss, err := exec.LookPath("ss")
	if err != nil {
		t.Skip("needs ss (package iproute2)")
	}
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var want []string
	err = h.Do(func() error {
		if err := loopbackUp(); err != nil {
			return err
		}
		for _, address := range []string{"127.0.0.1:8000", "0.0.0.0:80", "[::]:443", "[::1]:8443"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
		}
		for _, address := range []string{"127.0.0.1:53", "[::]:5353"} {
			l, err := net.ListenPacket("udp", address)
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
		}
		// A connected socket waits for nobody.
		c, err := net.Dial("tcp", "127.0.0.1:8000")
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		out, err := exec.Command(ss, "-ltnuH").Output()
		want = ssSockets(string(out))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &Namespace{ID: h.ID(), Name: "test", Paths: []string{"/nowhere", h.Path()}}
	found, err := Listeners(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range found {
		// ss writes * for [::] that takes both families.
		address := strings.Replace(l.Address.String(), "[::]", "*", 1)
		got = append(got, l.Protocol+" "+address)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) != 6 {
		t.Errorf("got  %v\nwant %v, as ss says", got, want)
	}
}

// ssSockets takes protocol and local address from the lines of ss -ltnuH.
func ssSockets(out string) []string {
	var sockets []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 5 {
			sockets = append(sockets, f[0]+" "+f[4])
		}
	}
	return sockets
}

// loopbackUp brings lo up in the calling thread's namespace.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

func TestListenersOfOwnNamespace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	found, err := Listeners(&Namespace{ID: h.ID(), Name: "host"}, h.ID())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(f Listener) bool { return f.Address.String() == l.Addr().String() }) {
		t.Errorf("%v is not among %v", l.Addr(), found)
	}
}

func TestListenersOfReplacedNamespace(t *testing.T) {
	n := &Namespace{ID: 1, Name: "gone", Paths: []string{"/proc/self/ns/net"}}
	if _, err := Listeners(n, 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that matches fs.ErrNotExist", err)
	}
	if _, err := Listeners(&Namespace{ID: 1, Name: "gone"}, 2); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want one that matches fs.ErrNotExist", err)
	}
}
