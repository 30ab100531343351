package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// routed is the world with routes that are known; blackholes are more of them.
func routed(number uint64, at int64, blackholes ...string) *netinfo.Topology {
	t := world()
	t.Number, t.Time = number, time.Unix(0, at)
	r := &netinfo.Routing{
		Rules: []netinfo.RoutingRule{{Priority: 32766, Action: netinfo.RuleToTable, Table: netinfo.TableMain}},
		Links: []netinfo.LinkRouting{{Link: uplink, Forwarding: true}, {Link: bridge, Forwarding: true}},
	}
	for _, b := range blackholes {
		r.Routes = append(r.Routes, netinfo.TableRoute{Table: netinfo.TableMain, Type: netinfo.RouteBlackhole, Destination: netip.MustParsePrefix(b)})
	}
	r.Routes = append(r.Routes,
		netinfo.TableRoute{Table: netinfo.TableMain, Type: netinfo.RouteUnicast, Destination: netip.MustParsePrefix("172.17.0.0/16"), Hops: []netinfo.NextHop{{Link: bridge}}},
		netinfo.TableRoute{Table: netinfo.TableMain, Type: netinfo.RouteUnicast, Destination: netip.MustParsePrefix("0.0.0.0/0"), Hops: []netinfo.NextHop{{Link: uplink, Gateway: netip.MustParseAddr("192.0.2.1")}}})
	t.Namespace(hostNS).Routing = r
	return t.Seal()
}

// A route is said to refuse a packet where it was there when the packet came, and for so
// long after that it can't have gone before; other routes may change meanwhile.
func TestRefusedWhereRoutingStood(t *testing.T) {
	const there, other = "198.51.100.7/32", "203.0.113.0/24"
	for _, c := range []struct {
		name          string
		before, after []string
		later         time.Duration // than the packet
		want          string
	}{
		{"it was there", []string{there}, []string{there}, time.Second, "dropped evaluated the route blackhole 198.51.100.7"},
		{"it was there, another came", []string{there}, []string{there, other}, time.Second, "dropped evaluated the route blackhole 198.51.100.7"},
		{"it came later", nil, []string{there}, time.Second, "vanished tap "},
		{"it came soon", nil, []string{there}, 100 * time.Millisecond, "vanished tap "},
		{"it went", []string{there}, nil, time.Second, "dropped evaluated the route blackhole 198.51.100.7"},
		{"it went at once", []string{there}, nil, 100 * time.Millisecond, "vanished tap "},
		{"none", nil, nil, time.Second, "vanished tap "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.c.SetTopology(routed(2, 2, c.before...))
			s.c.SetRuleset(&netfilter.Ruleset{Namespace: hostNS, Time: 1})
			s.see(bridgeIn, udp(t, port(backIP, 4000), port(internetIP, 8000), 3, "x"))
			s.pass(c.later)
			s.c.SetTopology(routed(3, s.now, c.after...))
			s.pass(4 * time.Second)
			v := sole(t, s).Verdict
			if got := strings.Join([]string{string(v.Result), string(v.Evidence), v.By}, " "); got != c.want {
				t.Errorf("%s: %s; want %s", got, v.Reason, c.want)
			}
		})
	}
}
