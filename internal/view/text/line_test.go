package text

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/internal/view/viewtest"
	"natlens/trace"
)

// A line says who talks with whom, however long the reason of its end is.
func TestLinesNameTheEnds(t *testing.T) {
	const lost = "last seen here; packets alone don't tell what came next"
	end := func(name, at string) trace.Endpoint {
		e := trace.Endpoint{Name: name}
		if a, err := netip.ParseAddrPort(at); err == nil {
			e.IP, e.Port = a.Addr(), a.Port()
		} else {
			e.IP = netip.MustParseAddr(at)
		}
		return e
	}
	ends := func(from, to trace.Endpoint, v trace.Verdict) *trace.Journey {
		return &trace.Journey{ID: 14, Protocol: 6, From: from, To: to, Verdict: v, Topology: viewtest.Topology()}
	}
	four, other := end("", "172.17.0.2:49152"), end("", "172.24.0.2:8000")
	long := end("shop-production-checkout-worker-1", "172.17.0.2:49152")
	longer := end("shop-production-payment-database-2", "172.17.0.3:5432")
	six, sixth := end("", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff1]:65533"), end("", "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff2]:443")
	dropped := trace.Verdict{Result: trace.Dropped, Hop: -1, Hook: "forward", By: "DOCKER-ISOLATION-STAGE-2 #1", Evidence: trace.ByRules}
	unfinished := trace.Verdict{Result: trace.Unfinished, Hop: -1, Reason: lost, Evidence: trace.ByTap}
	delivered := trace.Verdict{Result: trace.Delivered, Hop: -1, Evidence: trace.ByTap}
	amending := ends(four, other, trace.Verdict{Result: trace.Vanished, Hop: -1, Reason: lost, Evidence: trace.ByTap})
	amending.Supersedes = 11
	for _, c := range []struct {
		name string
		j    *trace.Journey
		as   uint64
		want [2]string // at 80 columns and at 120
	}{
		{"a drop", ends(four, other, dropped), 0, [2]string{
			`00:00:00.000000 #14  172.17.0.2:49152 → 172.24.0.2:8000  dropped at forward by …`,
			`00:00:00.000000 #14  172.17.0.2:49152 → 172.24.0.2:8000  dropped at forward by DOCKER-ISOLATION-STAGE-2 #1 [evaluated]`,
		}},
		{"unfinished", ends(four, other, unfinished), 0, [2]string{
			`00:00:00.000000 #14  172.17.0.2:49152 → 172.24.0.2:8000  unfinished: last seen …`,
			`00:00:00.000000 #14  172.17.0.2:49152 → 172.24.0.2:8000  unfinished: last seen here; packets alone don't tell what came…`,
		}},
		{"unfinished, as another", ends(four, other, unfinished), 9, [2]string{
			`00:00:00.000000 #14 as #9, tcp  unfinished: last seen here; packets alone don't…`,
			`00:00:00.000000 #14 as #9, tcp  172.17.0.2:49152 → 172.24.0.2:8000  unfinished: last seen here; packets alone don't tel…`,
		}},
		{"amending", amending, 0, [2]string{
			`00:00:00.000000 #14 amends #11  172.17.0.2:49152 → 172.24.0.2:8000  vanished: l…`,
			`00:00:00.000000 #14 amends #11  172.17.0.2:49152 → 172.24.0.2:8000  vanished: last seen here; packets alone don't tell …`,
		}},
		{"a reply", ends(other, four, delivered), 0, [2]string{
			`00:00:00.000000 #14   172.24.0.2:8000 → 172.17.0.2:49152  tcp   delivered`,
			`00:00:00.000000 #14   172.24.0.2:8000 → 172.17.0.2:49152  tcp   delivered`,
		}},
		{"long names", ends(long, longer, dropped), 0, [2]string{
			`00:00:00.000000 #14  shop-pro…-1:49152 → shop-pro…e-2:5432  dropped at forward …`,
			`00:00:00.000000 #14  shop-production-…-worker-1:49152 → shop-production-…database-2:5432  dropped at forward by DOCKER-…`,
		}},
		{"long names, delivered", ends(long, longer, delivered), 0, [2]string{
			`00:00:00.000000 #14  shop-pro…-1:49152 → shop-pro…e-2:5432  delivered to shop-p…`,
			`00:00:00.000000 #14  shop-production-…-worker-1:49152 → shop-production-…database-2:5432  delivered to shop-production-…`,
		}},
		{"one long name", ends(long, end("", "10.0.0.1"), unfinished), 0, [2]string{
			`00:00:00.000000 #14  shop-producti…rker-1:49152 → 10.0.0.1  unfinished: last se…`,
			`00:00:00.000000 #14  shop-production-…eckout-worker-1:49152 → 10.0.0.1  unfinished: last seen here; packets alone don't…`,
		}},
		{"IPv6", ends(six, sixth, dropped), 0, [2]string{
			`00:00:00.000000 #14  [2001:db…1]:65533 → [2001:db…ff2]:443  dropped at forward …`,
			`00:00:00.000000 #14  [2001:db8:aaaa:b…eee:fff1]:65533 → [2001:db8:aaaa:b…:eeee:fff2]:443  dropped at forward by DOCKER-…`,
		}},
		{"IPv6, unfinished", ends(six, sixth, unfinished), 0, [2]string{
			`00:00:00.000000 #14  [2001:db…1]:65533 → [2001:db…ff2]:443  unfinished: last se…`,
			`00:00:00.000000 #14  [2001:db8:aaaa:b…eee:fff1]:65533 → [2001:db8:aaaa:b…:eeee:fff2]:443  unfinished: last seen here; p…`,
		}},
	} {
		for i, width := range [2]int{80, 120} {
			st := Style{Names: true, Width: width, Zone: time.UTC}
			got := strings.TrimSuffix(st.Line(Detail{}, c.j, c.as), "\n")
			if got != c.want[i] {
				t.Errorf("%s: at %d columns\n%s, want\n%s", c.name, width, got, c.want[i])
			}
		}
	}
}
