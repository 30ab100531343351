package netfilter

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"natlens/capture/packet"
)

// A masquerade that has one port left, and two that want it: the second packet passes all
// rules, has no entry of its own and is dropped. conntrack(8) says the same.
func TestConntrackTellsOfPortsThatAreUsedUp(t *testing.T) {
	needs(t, "nsenter", "ip", "iptables-nft", "conntrack")
	world := newRouter(t)
	run(t, world.middle, "iptables-nft -t nat -A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 40000-40000")
	run(t, world.outside, "iptables-nft -A INPUT -p udp -j DROP") // whoever answers would be told of, too
	c, err := NewConntrack(ConntrackConfig{Host: world.middle.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Attach(world.middle); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan Batch, 1024)
	var mu sync.Mutex
	var told Failures
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(ctx, out); err != nil {
			t.Error(err)
		}
		close(out)
	})
	group.Go(func() {
		for b := range out {
			if f := b.Failures; f != nil {
				mu.Lock()
				told.Dropped += f.Dropped
				told.InsertFailed += f.InsertFailed
				mu.Unlock()
			}
		}
	})
	defer func() {
		cancel()
		group.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(1500 * time.Millisecond) // the first reading is what the others are compared with
	to := netip.AddrPortFrom(netip.MustParseAddr(outsideAddress), 7000)
	for port := range uint16(3) {
		sendFirst(t, world.inside, packet.UDP, netip.AddrPortFrom(netip.MustParseAddr(insideAddress), 9000+port), to)
	}
	eventually(t, "two packets found no port", func() bool {
		return conntrackSays(t, world.middle, "drop")+conntrackSays(t, world.middle, "insert_failed") >= 2
	})
	eventually(t, "natlens says what conntrack -S says", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return told == (Failures{Dropped: conntrackSays(t, world.middle, "drop"), InsertFailed: conntrackSays(t, world.middle, "insert_failed")})
	})
	t.Logf("%+v", told)
}
