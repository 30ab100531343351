package live

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// TestRetransmission: a segment that a rule drops once is sent again, and that is
// another journey.
func TestRetransmission(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	const port = 5311
	read := swallow(t, h, port)
	filtering(t, "forward", "tcp dport 5311 meta length 552 numgen inc mod 100000 0 counter drop")
	w := startWatch(t, Config{})
	c, err := lab.DialTCP(t.Context(), h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.Repeat("natlens ", 63)[:500])); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != 500 {
		t.Fatalf("%d bytes arrived, want 500", n)
	}
	data := func(j *trace.Journey) bool {
		first := &j.Hops[0].Headers
		return j.Protocol == packet.TCP && first.Tuple.DestinationPort == port && first.PayloadLength == 500
	}
	lost := w.journey("the lost one", func(j *trace.Journey) bool { return data(j) && j.Verdict.Result == trace.Vanished })
	again := w.journey("the other", func(j *trace.Journey) bool { return data(j) && j.Verdict.Result == trace.Left })
	in := "back/eth0:out host/" + h.Find("back").HostLink + ":in host/docker0:in"
	expect(t, lost, in, "", trace.Vanished)
	expect(t, again, in+" host/eth0:out", "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
	if r := again.Related; len(r) != 1 || r[0] != (trace.Relation{ID: lost.ID, Why: "retransmission_of"}) {
		t.Errorf("related to %v, want #%d", r, lost.ID)
	}
	if !strings.Contains(lost.Verdict.Reason, "a rule dropped this one") || !strings.Contains(lost.Verdict.Reason, "(test #1)") {
		t.Errorf("reason %q", lost.Verdict.Reason)
	}
	if n := dropped(t); n != "1" {
		t.Errorf("nft counted %s drops, want 1", n)
	}
}

// TestReordering: what is large waits at the uplink in a class of its own and is
// overtaken by what is not.
func TestReordering(t *testing.T) {
	needPrograms(t, "tc", "nft")
	leak.Check(t)
	h := dockerHost(t)
	tc := func(line string) error {
		return h.Namespace().Do(func() error {
			if out, err := exec.Command("tc", strings.Fields(line)...).CombinedOutput(); err != nil {
				return fmt.Errorf("tc %s: %w: %s", line, err, out)
			}
			return nil
		})
	}
	if err := tc("qdisc add dev eth0 root handle 1: htb default 20"); err != nil {
		t.Skipf("needs htb: %v", err)
	}
	t.Cleanup(func() {
		if err := tc("qdisc del dev eth0 root"); err != nil {
			t.Error(err)
		}
	})
	for _, line := range []string{
		"class add dev eth0 parent 1: classid 1:10 htb rate 8kbit burst 1100 cburst 1100",
		"class add dev eth0 parent 1: classid 1:20 htb rate 1gbit",
	} {
		if err := tc(line); err != nil {
			t.Fatal(err)
		}
	}
	hooking(t, "type filter hook postrouting priority 150", "udp dport 5312 meta length > 900 meta priority set 1:10")
	to := netip.AddrPortFrom(lab.ServerAddress, 5312)
	sink, err := lab.ListenUDP(h.Internet(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	c, err := lab.DialUDP(h.Find("back").Namespace(), netip.AddrPort{}, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := startWatch(t, Config{})
	if _, err := lab.Ping(t.Context(), h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 4, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	sent := []int{1000, 1001, 1002, 100, 101}
	for _, size := range sent {
		if _, err := c.Write([]byte(strings.Repeat("natlens ", 126)[:size])); err != nil {
			t.Fatal(err)
		}
	}
	var came []int
	buffer := make([]byte, 2000)
	for range sent {
		if err := sink.SetReadDeadline(time.Now().Add(liveness)); err != nil {
			t.Fatal(err)
		}
		n, err := sink.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		came = append(came, n)
	}
	if slices.Equal(came, sent) {
		t.Fatalf("%v came in the order in which they were sent: nothing was overtaken", came)
	}
	path := "back/eth0:out host/" + h.Find("back").HostLink + ":in host/docker0:in host/eth0:out"
	for _, size := range sent {
		j := w.journey(fmt.Sprintf("%d bytes", size), func(j *trace.Journey) bool {
			return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == to.Port() && int(j.Hops[0].Headers.PayloadLength) == size
		})
		expect(t, j, path, "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
		for _, hop := range j.Hops {
			if int(hop.Headers.PayloadLength) != size {
				t.Errorf("a hop of %d bytes in the journey of %d", hop.Headers.PayloadLength, size)
			}
		}
	}
	if n := w.end(); n.Unpaired != 0 {
		t.Errorf("%d unpaired\n%s", n.Unpaired, w.account())
	}
}
