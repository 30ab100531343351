package live

import (
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

const testTable = "natlenstest"

// filtering puts a chain with those rules at a hook of the host's namespace until
// the test ends.
func filtering(t *testing.T, hook, rules string) {
	t.Helper()
	hooking(t, "type filter hook "+hook+" priority 0", rules)
}

// hooking does so for any type of chain.
func hooking(t *testing.T, chain, rules string) {
	t.Helper()
	ruling(t, fmt.Sprintf("chain test {\n %s\n %s\n }", chain, rules))
}

// ruling puts a table with that into the host's namespace until the test ends.
func ruling(t *testing.T, table string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	nft := func(commands string) {
		t.Helper()
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(commands)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s in %s", err, out, commands)
		}
	}
	nft(fmt.Sprintf("table ip %s {\n %s\n}\n", testTable, table))
	t.Cleanup(func() { nft("delete table ip " + testTable) })
}

// dropped reads how many packets each of the rules has counted.
func dropped(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "ip", testTable).CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	var n []string
	for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(string(out), -1) {
		n = append(n, m[1])
	}
	return strings.Join(n, " ")
}

// TestEstablishedPacketDroppedAtInput: the flow's entry proves that its first
// packet was accepted, not that this one was. What it met, the rules tell.
func TestEstablishedPacketDroppedAtInput(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	filtering(t, "input", "udp dport 5300 ct state established counter drop")
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
	if _, err := c.Write([]byte("dropped at INPUT")); err != nil {
		t.Fatal(err)
	}
	second := w.journey("the second datagram", datagram(uint32(len("dropped at INPUT"))))
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("an answer to what was dropped: %v", err)
	}
	if n := dropped(t); n != "1" {
		t.Fatalf("nft counted %s drops, want 1", n)
	}
	if v := first.Verdict; v.Result != trace.Delivered || v.Evidence != trace.ByConntrack {
		t.Errorf("%s: %s by %s", pathOf(first), v.Result, v.Evidence)
	}
	if v := second.Verdict; v.Result != trace.Dropped || v.Evidence != trace.ByRules && v.Evidence != trace.ByCounter || v.Rule == nil || v.Rule.Table != testTable {
		t.Errorf("%s: %s by %s [%s]", pathOf(second), v.Result, v.By, v.Evidence)
	}
}
