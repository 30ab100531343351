package live

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// nft runs commands of nft(8) in the host's namespace.
func nft(t *testing.T, commands string) string {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	c := exec.Command("nft", "-f", "-")
	if !strings.HasPrefix(commands, "add") && !strings.HasPrefix(commands, "table") {
		c = exec.Command("nft", strings.Fields(commands)...)
	}
	c.Stdin = strings.NewReader(commands)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v: %s", commands, err, out)
	}
	return string(out)
}

// dropped reads how many packets the rules of a table have counted.
func dropped(t *testing.T, table string) string {
	t.Helper()
	var n []string
	for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(nft(t, "list table "+table), -1) {
		n = append(n, m[1])
	}
	return strings.Join(n, " ")
}

// TestEstablishedPacketDroppedAtInput: the flow's entry proves that its first
// packet was accepted, not that this one was.
func TestEstablishedPacketDroppedAtInput(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	nft(t, "table ip natlenstest {\n chain input {\n type filter hook input priority 0\n udp dport 5300 ct state established counter drop\n }\n}\n")
	at := netip.AddrPortFrom(lab.BridgePrefix.Addr(), 5300)
	echo, err := lab.EchoUDP(h.Namespace(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	w := startWatch(t, Config{})
	c, err := lab.DialUDP(h.Find("back").Namespace(), netip.AddrPort{}, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := lab.Exchange(t.Context(), c, []byte("accepted")); err != nil {
		t.Fatal(err)
	}
	datagram := func(size uint32) func(*trace.Journey) bool {
		return func(j *trace.Journey) bool {
			h := &j.Hops[0].Headers
			return j.Protocol == packet.UDP && h.Tuple.DestinationPort == at.Port() && h.PayloadLength == size
		}
	}
	first := w.journey("the first datagram", datagram(uint32(len("accepted"))))
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := lab.Exchange(short, c, []byte("dropped at INPUT")); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("an answer to what was dropped: %v", err)
	}
	second := w.journey("the second datagram", datagram(uint32(len("dropped at INPUT"))))
	if n := dropped(t, "ip natlenstest"); n != "1" {
		t.Fatalf("nft counted %s drops, want 1", n)
	}
	for _, c := range []struct {
		j    *trace.Journey
		want trace.Evidence
	}{{first, trace.ByConntrack}, {second, trace.ByTap}} {
		if v := c.j.Verdict; v.Result != trace.Delivered || v.Evidence != c.want {
			t.Errorf("%s: %s", pathOf(c.j), fmt.Sprintf("%s by %s, want %s", v.Result, v.Evidence, c.want))
		}
	}
}
