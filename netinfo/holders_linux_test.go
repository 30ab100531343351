package netinfo

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestSocketHolders(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	const nobodys = 1 // sockfs counts from far above
	got := SocketHolders([]uint64{inode, nobodys})
	if want := strings.TrimSpace(string(comm)); len(got) != 1 || got[inode] != want {
		t.Errorf("%v, want %d held by %q", got, inode, want)
	}
	if got := SocketHolders(nil); len(got) != 0 {
		t.Errorf("holders of nothing: %v", got)
	}
}
