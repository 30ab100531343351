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

// What routes keep in a namespace is delivered there, though none of its links has the
// address: the broadcast of another link's network, say.
func TestKeptByARoute(t *testing.T) {
	broadcast := netip.MustParseAddr("192.0.2.255")
	for _, c := range []struct {
		typ           netinfo.RouteType
		table         uint32
		tracked, flow bool
		want          string
	}{
		{netinfo.RouteBroadcast, netinfo.TableLocal, true, true, "delivered conntrack host takes it for itself, by the route broadcast 192.0.2.255"},
		{netinfo.RouteLocal, 100, true, true, "delivered conntrack host takes it for itself, by the route local 192.0.2.255"},
		{netinfo.RouteBroadcast, netinfo.TableLocal, true, false, "dropped inferred connection tracking never confirmed it: a rule dropped it before a program of host could get it"},
		{netinfo.RouteBroadcast, netinfo.TableLocal, false, false, "delivered evaluated host takes it for itself, by the route broadcast 192.0.2.255"},
	} {
		s := newStage(t)
		if c.tracked {
			s = newDropStage(t)
		}
		world := routed(2, 2)
		r := world.Namespace(hostNS).Routing
		r.Rules = append([]netinfo.RoutingRule{{Action: netinfo.RuleToTable, Table: c.table}}, r.Rules...)
		r.Routes = append(r.Routes, netinfo.TableRoute{Table: c.table, Type: c.typ, Destination: netip.PrefixFrom(broadcast, 32), Hops: []netinfo.NextHop{{Link: uplink}}})
		s.c.SetTopology(world)
		s.c.SetRuleset(&netfilter.Ruleset{Namespace: hostNS, Time: 1})
		from, to := port(backIP, 4000), port(broadcast, 5006)
		if c.flow {
			s.flow(netfilter.New, netfilter.Flow{ID: 2, Original: udpTuple(from, to), Reply: udpTuple(from, to).Inverse()})
		}
		s.toHost(udp(t, from, to, 3, "x"))
		s.pass(5 * time.Second)
		s.pass(5 * time.Second)
		v := sole(t, s).Verdict
		if got := strings.Join([]string{string(v.Result), string(v.Evidence), v.Reason}, " "); !strings.HasPrefix(got, c.want) {
			t.Errorf("%v, tracked %v, a flow %v: %s; want %s", c.typ, c.tracked, c.flow, got, c.want)
		}
	}
}

// A route of type local in the local table makes addresses the namespace's own that no
// link has: what comes for them is answered from there.
func TestAddressesByARouteAlone(t *testing.T) {
	s := newStage(t)
	world := routed(2, 2)
	r := world.Namespace(hostNS).Routing
	r.Rules = append([]netinfo.RoutingRule{{Action: netinfo.RuleToTable, Table: netinfo.TableLocal}}, r.Rules...)
	r.Routes = append(r.Routes,
		netinfo.TableRoute{Table: netinfo.TableLocal, Type: netinfo.RouteLocal, Destination: netip.MustParsePrefix("10.9.0.0/24"), Hops: []netinfo.NextHop{{Link: 1}}},
		netinfo.TableRoute{Table: 100, Type: netinfo.RouteLocal, Destination: netip.MustParsePrefix("0.0.0.0/0"), Hops: []netinfo.NextHop{{Link: 1}}})
	s.c.SetTopology(world)
	any := netip.MustParseAddr("10.9.0.7")
	s.flow(netfilter.New, netfilter.Flow{ID: 1, Original: echoTuple(backIP, any, 7, false), Reply: echoTuple(any, backIP, 7, true)})
	s.toHost(ping(t, backIP, any, 7, 1, false))
	s.see(bridgeOut, ping(t, any, backIP, 7, 1, true))
	s.see(vethOut, ping(t, any, backIP, 7, 1, true))
	s.see(backIn, ping(t, any, backIP, 7, 1, true))
	s.wantEnds("delivered by conntrack", "delivered by tap")
	if to := s.journeys[0].To.Name; to != "host" {
		t.Errorf("it went to %q", to)
	}
	if r := s.journeys[1].Related; len(r) != 1 || r[0].Why != "reply_to" {
		t.Errorf("the answer is related to %v", r)
	}
}
