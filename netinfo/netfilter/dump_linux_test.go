package netfilter

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// readWhole drives one dump to its end and returns how many flows it told; meanwhile
// is called after each piece.
func readWhole(t *testing.T, c *Conntrack, l *listener, meanwhile func(piece int)) (flows map[flowKey]bool, err error) {
	t.Helper()
	flows = map[flowKey]bool{}
	for piece := range 1 << 14 {
		b := Batch{}
		more, err := l.dumpPiece(c.dumps, &b)
		for i := range b.Events {
			flows[b.Events[i].Flow.key()] = true
		}
		if !more {
			if b.Synced == (err != nil) {
				t.Errorf("synced %v, error %v", b.Synced, err)
			}
			l.table.end(0)
			return flows, err
		}
		if meanwhile != nil {
			meanwhile(piece)
		}
	}
	t.Fatal("the dump has no end")
	return nil, nil
}

// A dump that the kernel has no room or no time for is gone on with or begun again,
// and has all flows in the end; one that never goes on is given up.
func TestDumpsThatStall(t *testing.T) {
	needs(t, "nsenter", "ip", "nft")
	r := newRouter(t)
	masquerade(t, r.middle)
	const flows = 3000
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":9"), flows)
	c, err := NewConntrack(ConntrackConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	l, err := c.open(r.middle)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()

	check := func(name string, meanwhile func(piece int)) {
		t.Run(name, func(t *testing.T) {
			told, err := readWhole(t, c, l, meanwhile)
			if err != nil || len(told) != flows {
				t.Errorf("%d flows, want %d; error %v", len(told), flows, err)
			}
		})
	}
	check("undisturbed", nil)

	// The kernel goes on with a dump as long as somebody reads; a second one is
	// refused until then (EBUSY).
	if err := l.table.socket.request(subsystemConntrack, conntrackGet, flagDump, unix.AF_UNSPEC, nil); err != nil {
		t.Fatal(err)
	}
	check("behind one that was given up", nil)

	refused := false
	check("with an overrun meanwhile", func(piece int) {
		if piece != 3 {
			return
		}
		// What finds no room behind a piece is dropped (ENOBUFS).
		if err := unix.SetsockoptInt(l.table.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Fatal(err)
		}
		sequence := l.table.socket.sequence
		for range 4 {
			if err := l.table.socket.request(subsystemConntrack, conntrackGetStatsAll, 0, unix.AF_UNSPEC, nil); err != nil {
				t.Fatal(err)
			}
		}
		l.table.socket.sequence = sequence
		refused = l.table.socket.dropped() > 0
	})
	if !refused {
		t.Error("nothing was dropped: the test shows less than it should")
	}
	if err := unix.SetsockoptInt(l.table.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<18); err != nil {
		t.Fatal(err)
	}

	steal := func() {
		for {
			if _, err := c.dumps.receive(l.table.socket); errors.Is(err, unix.EAGAIN) {
				return
			}
		}
	}
	check("with its pieces lost", func(piece int) {
		if piece == 3 {
			steal()
		}
	})
	t.Run("again and again", func(t *testing.T) {
		if _, err := readWhole(t, c, l, func(int) { steal() }); !errors.Is(err, unix.EAGAIN) {
			t.Errorf("error %v, want %v", err, unix.EAGAIN)
		}
	})
	check("after that", nil)
}
