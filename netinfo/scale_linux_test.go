package netinfo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

// crowd makes a host with a bridge and n namespaces on it, as n containers
// would be.
func crowd(tb testing.TB, n int) (host string) {
	tb.Helper()
	if _, err := exec.LookPath("ip"); err != nil || syscall.Geteuid() != 0 {
		tb.Skip("needs root and ip of iproute2")
	}
	prefix := fmt.Sprintf("nl-T-%d-crowd", syscall.Getpid())
	host = prefix + "-host"
	var names []string
	batch := func(line func(b *strings.Builder, name string, i int)) {
		var b strings.Builder
		for i, name := range names {
			line(&b, name, i)
		}
		c := exec.Command("ip", "-batch", "-")
		c.Stdin = strings.NewReader(b.String())
		if out, err := c.CombinedOutput(); err != nil {
			tb.Fatalf("ip -batch: %v: %s", err, out)
		}
	}
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", prefix, i))
	}
	tb.Cleanup(func() {
		names = append(names, host)
		batch(func(b *strings.Builder, name string, _ int) { fmt.Fprintf(b, "netns del %s\n", name) })
	})
	all := append([]string{host}, names...)
	names, all = all, names
	batch(func(b *strings.Builder, name string, _ int) { fmt.Fprintf(b, "netns add %s\n", name) })
	names = all
	if out, err := exec.Command("ip", "-n", host, "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		tb.Fatalf("ip link add: %v: %s", err, out)
	}
	batch(func(b *strings.Builder, name string, i int) {
		fmt.Fprintf(b, "link add eth0 netns %s type veth peer name v%d netns %s\n", name, i, host)
	})
	return host
}

// BenchmarkScan200 scans a host with 200 namespaces from nothing.
func BenchmarkScan200(b *testing.B) {
	host := crowd(b, 200)
	h, err := netns.Open("/run/netns/" + host)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	for b.Loop() {
		s, err := newScanner()
		if err != nil {
			b.Fatal(err)
		}
		s.self = h.ID()
		top, err := s.scan(context.Background())
		s.close()
		if err != nil {
			b.Fatal(err)
		}
		mutual := 0
		for _, l := range top.Namespace(top.Self).Links {
			if l.Peer != nil && l.Peer.Mutual {
				mutual++
			}
		}
		if mutual != 200 {
			b.Fatalf("%d of 200 peers found", mutual)
		}
	}
}

// BenchmarkWatch200 reports which share of one processor it takes to watch 200
// namespaces while a link of the host changes ten times a second.
func BenchmarkWatch200(b *testing.B) {
	host := crowd(b, 200)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := make(chan *Topology)
	done := make(chan error, 1)
	go func() { done <- NewWatcher(Options{NoEngine: true}).Run(ctx, out) }()
	<-out
	for b.Loop() {
		var before, after syscall.Rusage
		began := time.Now()
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
			b.Fatal(err)
		}
		for i := range 20 {
			address := fmt.Sprintf("10.9.0.%d/32", i+1)
			if out, err := exec.Command("ip", "-n", host, "addr", "replace", address, "dev", "lo", "valid_lft", fmt.Sprint(1000+i), "preferred_lft", "500").CombinedOutput(); err != nil {
				b.Fatalf("ip addr: %v: %s", err, out)
			}
			deadline := time.After(100 * time.Millisecond)
			for waiting := true; waiting; {
				select {
				case <-out:
				case <-deadline:
					waiting = false
				}
			}
		}
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			b.Fatal(err)
		}
		used := after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano()
		b.ReportMetric(float64(used)/float64(time.Since(began))*100, "%cpu")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		b.Errorf("Run: %v", err)
	}
}
