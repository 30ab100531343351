package netinfo

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"testing"
)

// Each kind of socket of this process is found by its two ends, and no other.
func TestHolder(t *testing.T) {
	addr := func(a net.Addr) netip.AddrPort {
		p, err := netip.ParseAddrPort(a.String())
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	self, parent := os.Getpid(), os.Getppid()
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Skipf("needs loopback: %v", err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		a, b := addr(client.LocalAddr()), addr(l.Addr())
		if _, err := Holder(Connection{"tcp", b, a}, []int{self}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a connection that nobody accepted: %v", at, err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		udp, err := net.ListenPacket("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer udp.Close()
		u, err := net.Dial("udp", udp.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		c, d := addr(u.LocalAddr()), addr(udp.LocalAddr())
		any := netip.AddrPortFrom(b.Addr(), 9) // of nobody
		for _, held := range []Connection{
			{"tcp", a, b}, {"tcp", b, a}, {"tcp", b, netip.AddrPort{}}, {"udp", c, d}, {"udp", d, netip.AddrPort{}}, {"udp", d, any},
		} {
			if pid, err := Holder(held, []int{parent, self}); pid != self || err != nil {
				t.Errorf("%v: held by %d (%v), want %d", held, pid, err, self)
			}
			if pid, err := Holder(held, []int{parent}); pid != 0 || err != nil && !errors.Is(err, os.ErrPermission) {
				t.Errorf("%v: held by %d (%v), though it is this process's", held, pid, err)
			}
		}
		for _, nobodys := range []Connection{{"tcp", a, any}, {"udp", any, c}} {
			if pid, err := Holder(nobodys, []int{self}); pid != 0 || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: held by %d (%v), though there is none", nobodys, pid, err)
			}
		}
	}
	if pid, err := Holder(Connection{}, nil); pid != 0 || err != nil {
		t.Errorf("among nobody: %d, %v", pid, err)
	}
}
