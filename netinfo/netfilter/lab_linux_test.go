package netfilter

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// router is three throw-away namespaces: inside (10.9.0.2) - middle - outside
// (192.0.2.1). The middle one routes; a test adds the rules.
type router struct {
	inside, middle, outside *netns.Handle
}

const (
	insideAddress, insideAddress6   = "10.9.0.2", "fd09::2"
	uplinkAddress, uplinkAddress6   = "192.0.2.10", "fd02::10"
	outsideAddress, outsideAddress6 = "192.0.2.1", "fd02::1"
)

// needs skips the test unless it runs as root and the programs are there, and
// checks at its end that no descriptor or goroutine is left.
func needs(t testing.TB, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
	fds, goroutines := openDescriptors(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		eventually(t, "descriptors and goroutines are back to where they were", func() bool {
			return openDescriptors(t) <= fds && runtime.NumGoroutine() <= goroutines
		})
	})
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		// The runtime opens these once, when it needs them first.
		target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && !strings.Contains(target, "eventpoll") && !strings.Contains(target, "eventfd") && !strings.Contains(target, "pidfd") {
			n++
		}
	}
	return n
}

// eventually waits for a condition, for a time that only a hang exceeds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func newNamespace(t testing.TB) *netns.Handle {
	t.Helper()
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	run(t, h, "ip link set lo up")
	return h
}

// pathFor is a path under which other processes can open the namespace.
func pathFor(h *netns.Handle) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.Fd())
}

// command runs a program in a namespace. Of iptables-legacy that is one program at a
// time on the whole machine, and each is made to wait for its turn.
func command(h *netns.Handle, words ...string) *exec.Cmd {
	if name := words[0]; strings.Contains(name, "tables-legacy") && !strings.HasSuffix(name, "-save") {
		words = slices.Insert(slices.Clone(words), 1, "-w")
	}
	return exec.Command("nsenter", append([]string{"--net=" + pathFor(h), "--"}, words...)...)
}

// run runs a command line in a namespace and returns what it printed. Words
// are split at spaces.
func run(t testing.TB, h *netns.Handle, line string) string {
	t.Helper()
	return runWords(t, h, strings.Fields(line)...)
}

func runWords(t testing.TB, h *netns.Handle, words ...string) string {
	t.Helper()
	b, err := command(h, words...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, b)
	}
	return string(b)
}

// script feeds a program's standard input.
func script(t testing.TB, h *netns.Handle, input string, words ...string) {
	t.Helper()
	c := command(h, words...)
	c.Stdin = strings.NewReader(input)
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, b)
	}
}

func newRouter(t testing.TB) *router {
	t.Helper()
	r := &router{inside: newNamespace(t), middle: newNamespace(t), outside: newNamespace(t)}
	join := func(a *netns.Handle, nameA, a4, a6 string, b *netns.Handle, nameB, b4, b6 string) {
		run(t, a, fmt.Sprintf("ip link add %s type veth peer name %s netns %s", nameA, nameB, pathFor(b)))
		for _, end := range []struct {
			h              *netns.Handle
			name, ip4, ip6 string
		}{{a, nameA, a4, a6}, {b, nameB, b4, b6}} {
			run(t, end.h, "ip addr add "+end.ip4+" dev "+end.name)
			run(t, end.h, "ip addr add "+end.ip6+" dev "+end.name+" nodad")
			run(t, end.h, "ip link set "+end.name+" up")
		}
	}
	join(r.inside, "eth0", insideAddress+"/24", insideAddress6+"/64", r.middle, "docker0", "10.9.0.1/24", "fd09::1/64")
	join(r.middle, "eth0", uplinkAddress+"/24", uplinkAddress6+"/64", r.outside, "eth0", outsideAddress+"/24", outsideAddress6+"/64")
	run(t, r.inside, "ip route add default via 10.9.0.1")
	run(t, r.inside, "ip -6 route add default via fd09::1")
	runWords(t, r.middle, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
	return r
}

// echoServer answers every UDP datagram and closes every TCP connection after
// it has read its end, on one port of both.
func echoServer(t *testing.T, h *netns.Handle, address netip.AddrPort) {
	t.Helper()
	var udp *net.UDPConn
	var tcp *net.TCPListener
	err := h.Do(func() (err error) {
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(address)); err != nil {
			return err
		}
		tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort(b[:n], from)
		}
	})
	group.Go(func() {
		answer := make([]byte, 2048)
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			for {
				n, err := c.Read(answer)
				if err != nil {
					break
				}
				_, _ = c.Write(answer[:n])
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = udp.Close()
		_ = tcp.Close()
		group.Wait()
	})
}

// talk sends a few bytes from inside h and waits for their echo.
func talk(t *testing.T, h *netns.Handle, network, address string) {
	t.Helper()
	var c net.Conn
	err := h.Do(func() (err error) {
		c, err = net.DialTimeout(network, address, 5*time.Second)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := c.Read(b); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_, _ = c.Read(b)
	}
}

// flood sends one datagram from each of n source ports, so that each is a flow.
func flood(t *testing.T, h *netns.Handle, to netip.AddrPort, n int) {
	t.Helper()
	err := h.Do(func() error {
		for port := range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: 10000 + port})
			if err == nil {
				err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
			}
			_ = unix.Close(fd)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
