package live

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
)

// TestClashIsSaid: a container asks for two names at once from one socket, as
// resolvers do, until conntrack -S says that two entries clashed and were made one.
// The watch says so too, as many.
func TestClashIsSaid(t *testing.T) {
	needPrograms(t, "nft", "conntrack")
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back").Namespace()
	// Many rules between the look into the table and the confirmation: so the two are
	// under way together.
	if _, err := inside(back, "nft", "table ip x { chain y { type filter hook output priority 0; "+strings.Repeat("ct state new counter; ", 2000)+" }; }"); err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, Config{})
	resolved := func() (sum uint64) {
		out, err := inside(back, "conntrack", "-S")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(` clash_resolve=(\d+)`).FindAllStringSubmatch(out, -1) {
			n, _ := strconv.ParseUint(m[1], 10, 64)
			sum += n
		}
		return sum
	}
	time.Sleep(1500 * time.Millisecond) // the first reading is what the others are compared with
	for until := time.Now().Add(20 * time.Second); resolved() == 0; {
		if time.Now().After(until) {
			t.Skip("needs two processors that meet: no two questions clashed in 20 s")
		}
		for range 200 {
			twoAtOnce(t, back)
		}
	}
	w.warned("connection tracking of back resolved clashes, ")
}

// twoAtOnce sends two datagrams at once from one new socket.
func twoAtOnce(t *testing.T, in *netns.Handle) {
	t.Helper()
	fd := -1
	if err := in.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: lab.ServerAddress.As4()}); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	var ready atomic.Int32
	for range 2 {
		both.Go(func() {
			for ready.Add(1); ready.Load() < 2; {
			}
			_, _ = unix.Write(fd, []byte("question")) // refused, once the first was
		})
	}
	both.Wait()
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}

// inside runs a program in a namespace and returns what it printed.
func inside(ns *netns.Handle, words ...string) (string, error) {
	var out []byte
	err := ns.Do(func() (err error) {
		if out, err = exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%s: %w: %s", words[0], err, out)
		}
		return err
	})
	return string(out), err
}
