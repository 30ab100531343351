package netfilter

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"natlens/netinfo/netns"
)

// A forwarded packet passes the whole path within the system call that sends it:
// veth, bridge, the rules of a Docker host with twenty networks, the other veth. So
// the time of a call is what a busy host pays for a packet.

func BenchmarkForward(b *testing.B) { forward(b, nil) }

// BenchmarkForwardTracedAll asks for a trace of each: what the limit is for.
func BenchmarkForwardTracedAll(b *testing.B) { forward(b, &TracerConfig{Rate: 1 << 24}) }

func forward(b *testing.B, c *TracerConfig) {
	r := newBusyHost(b)
	if c != nil {
		b.Cleanup(traceWhile(b, *c, r.middle))
	}
	send := sender(b, r, 9)
	for range 200 { // until neighbours are known, and the limit's burst is spent
		send()
	}
	for b.Loop() {
		send()
	}
}

// newBusyHost is a Docker host with twenty networks, a container at docker0 and a
// neighbour behind the uplink that takes what comes.
func newBusyHost(b *testing.B) *router {
	b.Helper()
	needs(b, "iptables", "iptables-restore", "ping")
	r := newRouter(b)
	for _, line := range []string{
		"link set docker0 down", "link set docker0 name veth0", "addr flush dev veth0",
		"link add docker0 type bridge", "addr add 10.9.0.1/24 dev docker0", "link set veth0 master docker0 up", "link set docker0 up",
	} {
		run(b, r.middle, "ip "+line)
	}
	script(b, r.middle, manyNetworks(20), "iptables-restore")
	run(b, r.outside, "iptables -t raw -A PREROUTING -p udp -j DROP") // an answer would be an error here
	// A bridge that has just come up may lose the first question for an address,
	// and the next one comes a second later.
	run(b, r.inside, "ping -n -c 1 -w 20 10.9.0.1")
	return r
}

// sender returns what sends one packet through the host.
func sender(b *testing.B, r *router, port uint16) func() {
	b.Helper()
	var conn net.Conn
	if err := r.inside.Do(func() (err error) {
		conn, err = net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr(outsideAddress), port).String())
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	packet := make([]byte, 64)
	return func() {
		if _, err := conn.Write(packet); err != nil {
			b.Error(err)
		}
	}
}

// traceWhile runs a Tracer in some namespaces until what it returns is called.
func traceWhile(b *testing.B, c TracerConfig, namespaces ...*netns.Handle) (stop func()) {
	b.Helper()
	tracer, err := NewTracer(c)
	if err != nil {
		b.Fatal(err)
	}
	for _, ns := range namespaces {
		if err := tracer.Attach(ns); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan HitBatch, 64)
	var group sync.WaitGroup
	group.Go(func() {
		defer close(out)
		if err := tracer.Run(ctx, out); err != nil {
			b.Error(err)
		}
	})
	group.Go(func() {
		for range out { // a reader that keeps up
		}
	})
	return func() {
		cancel()
		group.Wait()
		if err := tracer.Close(); err != nil {
			b.Error(err)
		}
	}
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
