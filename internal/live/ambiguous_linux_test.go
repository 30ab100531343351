package live

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// final returns the records that no other supersedes, of datagrams to a port.
func (w *watch) final(port uint16) (kept []*trace.Journey) {
	all := w.all(func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == port
	})
	replaced := map[uint64]bool{}
	for _, j := range all {
		replaced[j.Supersedes] = true
	}
	for _, j := range all {
		if !replaced[j.ID] {
			kept = append(kept, j)
		}
	}
	return kept
}

// TestIdenticalDatagrams sends what nothing tells apart, and has the kernel drop
// some of it: which ones, nobody can know. Where nothing is lost, order tells.
func TestIdenticalDatagrams(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	const losing, whole, sent = 5301, 5302, 9
	filtering(t, "forward", "udp dport 5301 numgen inc mod 3 0 counter drop")
	for _, port := range []uint16{losing, whole} {
		sink, err := lab.ListenUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sink.Close() })
	}
	// What is not to be fragmented, of a socket that is not connected, has no
	// identification (ip_select_ident).
	c, err := lab.ListenUDP(h.Find("back").Namespace(), netip.AddrPortFrom(netip.IPv4Unspecified(), 4000))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}), err); err != nil {
		t.Fatal(err)
	}
	w := startWatch(t, Config{})
	// Who the next hop is, is known then: none of them waits for it.
	if _, err := lab.Ping(t.Context(), h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 3, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{losing, whole} {
		for range sent {
			if _, err := c.WriteToUDPAddrPort([]byte("identical"), netip.AddrPortFrom(lab.ServerAddress, port)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until("all datagrams", func() bool { return w.session.Summary().Ambiguous >= sent })
	deadline := time.Now().Add(liveness)
	for len(w.final(losing)) < sent || len(w.final(whole)) < sent {
		if time.Now().After(deadline) {
			t.Fatalf("%d and %d journeys, want %d\n%s", len(w.final(losing)), len(w.final(whole)), sent, w.account())
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := dropped(t); n != "3" {
		t.Fatalf("nft counted %s drops, want 3", n)
	}
	left := 0
	for _, j := range w.final(losing) {
		if j.Hops[0].Headers.IPID != 0 {
			t.Fatalf("IP ID %d: not identical", j.Hops[0].Headers.IPID)
		}
		if j.Verdict.Evidence != trace.Ambiguous || len(j.Notes) != 1 || !strings.HasPrefix(j.Notes[0], "ambiguous: #") {
			t.Errorf("%s: %+v %q", pathOf(j), j.Verdict, j.Notes)
		}
		if j.Verdict.Result == trace.Left {
			left++
		}
	}
	if left != sent-3 {
		t.Errorf("%d of %d left, want %d", left, sent, sent-3)
	}
	for _, j := range w.final(whole) {
		if j.Verdict.Result != trace.Left || j.Verdict.Evidence != trace.ByTap || len(j.Notes) != 0 {
			t.Errorf("%s: %+v %q", pathOf(j), j.Verdict, j.Notes)
		}
	}
}
