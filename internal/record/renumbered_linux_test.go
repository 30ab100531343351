package record_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/record"
)

// A file tells by how much the numbers of a connection changed, so that its packets are
// joined as they were when they came.
func TestReadJoinsWhatASynProxyRenumbered(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	r := watch(t, record.Config{Others: true}, func(ctx context.Context, h *lab.Host) {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(`table ip proxy {
 chain early { type filter hook prerouting priority raw; iifname docker0 tcp dport 80 tcp flags & (syn|ack) == syn notrack; }
 chain late { type filter hook forward priority -1; tcp dport 80 ct state invalid,untracked synproxy mss 1460 sack-perm timestamp wscale 7; }
}`)
		if err := h.Namespace().Do(func() error {
			if err := os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", []byte("0"), 0); err != nil {
				return err
			}
			return c.Run()
		}); err != nil {
			t.Error(err)
			return
		}
		server := netip.AddrPortFrom(lab.ServerAddress, 80)
		s, err := lab.ServeHTTP(h.Internet(), server, "hello")
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		if _, err := lab.Get(ctx, h.Containers()[0].Namespace(), server); err != nil {
			t.Error(err)
		}
	})
	renumbered := 0
	for _, j := range r.journeys {
		if hops, _ := j["hops"].([]any); len(hops) == 4 && strings.Contains(fmt.Sprint(j["notes"]), "counts on from the number of its SYN proxy") {
			renumbered++
		}
	}
	if renumbered < 4 {
		t.Errorf("%d journeys of packets with other numbers, want at least 4", renumbered)
	}
	r.same(t, play(t, r.paths...))
}
