package live

import (
	"bufio"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/internal/lab"
	"natlens/internal/leak"
)

// watcher is a process that watches.
type watcher struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	stdin interface{ Close() error }
	// leftOut is what it printed before it watched.
	leftOut []string
}

// startWatcher starts the process and waits until it watches. apart gives it
// user and network namespaces of its own.
func startWatcher(t *testing.T, c Config, apart bool) *watcher {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	leak.Mark(t, cmd)
	cmd.Env = append(cmd.Environ(), programVariable+"="+string(config))
	if apart {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &watcher{t: t, cmd: cmd, lines: bufio.NewScanner(stdout), stdin: stdin}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when it has ended, as it should
		_ = cmd.Wait()
	})
	w.leftOut = w.await("watching")
	return w
}

// await reads lines until one begins with the word, and returns those and the
// ones before it. A process that hangs is ended, so that the test fails instead.
func (w *watcher) await(word string) (said []string) {
	w.t.Helper()
	limit := time.AfterFunc(liveness, func() { _ = w.cmd.Process.Kill() })
	defer limit.Stop()
	for w.lines.Scan() {
		said = append(said, w.lines.Text())
		if strings.HasPrefix(w.lines.Text(), word) {
			return said
		}
	}
	w.t.Fatalf("the watching process ended without %q; it said %q", word, said)
	return nil
}

// send signals the process.
func (w *watcher) send(signal os.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(signal); err != nil {
		w.t.Fatal(err)
	}
}

// end ends it in order and returns what it still said.
func (w *watcher) end() (said []string) {
	w.t.Helper()
	if err := w.stdin.Close(); err != nil {
		w.t.Error(err)
	}
	said = w.await("summary: ")
	if err := w.cmd.Wait(); err != nil {
		w.t.Errorf("watching process: %v", err)
	}
	return said
}

// TestStoppedWatchCatchesUp stops a watching process with SIGSTOP: what passes
// meanwhile waits in the rings.
func TestStoppedWatchCatchesUp(t *testing.T) {
	h := dockerHost(t)
	w := startWatcher(t, Config{}, false)
	w.send(unix.SIGSTOP)
	const pings = 30
	for seq := range uint16(pings) {
		if _, err := lab.Ping(t.Context(), h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 10, Seq: seq}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second) // longer than a watermark may be late
	w.send(unix.SIGCONT)
	said := map[string]int{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("it said %v", said)
		}
	})
	requests := "left back/eth0:out host/" + h.Find("back").HostLink + ":in host/docker0:in host/eth0:out"
	replies := "delivered host/eth0:in host/docker0:out host/" + h.Find("back").HostLink + ":out back/eth0:in"
	for said[requests] < pings || said[replies] < pings {
		end, _, _ := strings.Cut(w.await("")[0], ": ")
		said[end]++
	}
	if last := w.end(); last[len(last)-1] != "summary: 0 lost by rings" {
		t.Errorf("at the end: %q", last)
	}
}

// blackhole is a prefix of documentation (RFC 5737) that the host of these
// tests throws away.
var blackhole = netip.MustParsePrefix("203.0.113.0/24")

func addBlackhole(t *testing.T) {
	t.Helper()
	bits := blackhole.Bits()
	r := &netlink.Route{Type: unix.RTN_BLACKHOLE, Dst: &net.IPNet{IP: blackhole.Addr().AsSlice(), Mask: net.CIDRMask(bits, 32)}}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.RouteDel(r); err != nil {
			t.Error(err)
		}
	})
}

// TestRingsThatOverrun has more packets pass than the rings of a process hold
// that can't read them. What was lost is a number, and what vanished may have
// been among it.
func TestRingsThatOverrun(t *testing.T) {
	h := dockerHost(t)
	addBlackhole(t)
	w := startWatcher(t, Config{RingBudget: 2 << 20}, false)
	c, err := lab.DialUDP(h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(blackhole.Addr().Next(), 9))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.send(unix.SIGSTOP)
	for range 20_000 {
		if _, err := c.Write([]byte("too much")); err != nil {
			t.Fatal(err)
		}
	}
	w.send(unix.SIGCONT)
	said := w.await("unfinished")
	if line := said[len(said)-1]; !strings.Contains(line, ": unknown: ring lost ") {
		t.Errorf("said %q", line)
	}
	said = w.end()
	if last := said[len(said)-1]; last == "summary: 0 lost by rings" {
		t.Errorf("at the end: %q", last)
	}
	for _, line := range said {
		if strings.HasPrefix(line, "vanished") || strings.HasPrefix(line, "dropped") {
			t.Fatalf("said %q of a packet that the ring may have lost", line)
		}
	}
}

// TestNamespacesOfOthers watches from a user namespace that has no say over
// the others' namespaces, as an ordinary user has none.
func TestNamespacesOfOthers(t *testing.T) {
	dockerHost(t)
	w := startWatcher(t, Config{AllNamespaces: true}, true)
	for _, name := range []string{"back", "database", lab.InternetName} {
		if !slices.ContainsFunc(w.leftOut, func(line string) bool {
			return strings.HasPrefix(line, "left out "+name+": ") && strings.HasSuffix(line, "operation not permitted")
		}) {
			t.Errorf("%s is not named as left out in %q", name, w.leftOut)
		}
	}
	w.end()
}
