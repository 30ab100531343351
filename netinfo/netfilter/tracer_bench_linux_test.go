package netfilter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"natlens/netinfo/netns"
)

// A forwarded packet passes the whole path within the system call that sends it:
// veth, the rules of a Docker host with twenty networks, the other veth. So the
// time of a call is what a busy host pays for a packet, and its inverse the
// traffic that it keeps.

func BenchmarkForward(b *testing.B) { forward(b, nil) }

// BenchmarkForwardTraced is with a Tracer's default, which asks for some packets
// of very many.
func BenchmarkForwardTraced(b *testing.B) { forward(b, &TracerConfig{}) }

// BenchmarkForwardTracedAll asks for each: what the limit is for.
func BenchmarkForwardTracedAll(b *testing.B) { forward(b, &TracerConfig{Rate: 1 << 24}) }

func forward(b *testing.B, c *TracerConfig) {
	needs(b, "iptables", "iptables-restore")
	r := newRouter(b)
	script(b, r.middle, manyNetworks(20), "iptables-restore")
	run(b, r.outside, "iptables -t raw -A PREROUTING -p udp -j DROP") // an answer would be an error here
	if c != nil {
		traceWhile(b, *c, r.middle)
	}
	var conn net.Conn
	if err := r.inside.Do(func() (err error) {
		conn, err = net.Dial("udp", netip.MustParseAddrPort(outsideAddress+":9").String())
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	packet := make([]byte, 64)
	send := func() {
		if _, err := conn.Write(packet); err != nil {
			b.Fatal(err)
		}
	}
	for range 200 { // until neighbours are known, and the limit's burst is spent
		send()
	}
	for b.Loop() {
		send()
	}
}

// traceWhile runs a Tracer until the benchmark ends.
func traceWhile(b *testing.B, c TracerConfig, ns *netns.Handle) {
	b.Helper()
	tracer, err := NewTracer(c)
	if err != nil {
		b.Fatal(err)
	}
	if err := tracer.Attach(ns); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	out := make(chan HitBatch, 64)
	done := make(chan error)
	go func() {
		err := tracer.Run(ctx, out)
		close(out)
		done <- err
	}()
	go func() {
		for range out { // a reader that keeps up
		}
	}()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := tracer.Close(); err != nil {
			b.Error(err)
		}
	})
}

// manyNetworks is Docker's filter and nat rules for so many bridge networks.
func manyNetworks(n int) string {
	var filter, nat strings.Builder
	filter.WriteString("*filter\n:DOCKER-USER - [0:0]\n:ISOLATION-1 - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j ISOLATION-1\n")
	nat.WriteString("*nat\n-A POSTROUTING -s 10.9.0.0/24 ! -o docker0 -j MASQUERADE\n")
	for i := range n {
		fmt.Fprintf(&filter, "-A ISOLATION-1 -i br-%d ! -o br-%d -j DROP\n-A FORWARD -o br-%d -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i br-%d ! -o br-%d -j ACCEPT\n", i, i, i, i, i)
		fmt.Fprintf(&nat, "-A POSTROUTING -s 172.18.%d.0/24 ! -o br-%d -j MASQUERADE\n", i, i)
	}
	filter.WriteString("-A DOCKER-USER -j RETURN\n-A ISOLATION-1 -j RETURN\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\nCOMMIT\n")
	nat.WriteString("COMMIT\n")
	return filter.String() + nat.String()
}
