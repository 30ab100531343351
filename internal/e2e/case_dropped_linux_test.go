package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// A packet that is translated and then dropped never has a conntrack entry: the
// kernel makes entries of what has passed the rules.
func TestCaseTranslatedThenDropped(t *testing.T) {
	e := engine.Start(t, "--userland-proxy=false")
	e.Network("other_net")
	e.Run("--name", "back", "-p", "8000:8000", "-p", "5000:5000/udp", "box")
	e.Run("--name", "front", "--network", "other_net", "-p", "8001:8000", "box")
	back, front := ipOf(t, e, "back", "bridge").String(), ipOf(t, e, "front", "other_net").String()
	must(t, e.Command("iptables", "-I", "DOCKER-USER", "-i", "eth0", "-j", "DROP"))
	rules := iptablesSave(t, e.Command)
	s := openScene(t, e, "back", "front")
	s.drops = true
	s.drop = func(p *oracletest.Packet) (hook, rule string) {
		if p.Sightings[0].Dest.Port == 5000 {
			return "forward", "-A DOCKER-USER -i eth0 -j DROP"
		}
		return "", ""
	}
	// Without an entry the oracle can't tell that a packet with a new address is
	// the same one; its hops are compared below.
	s.skip = func(p *oracletest.Packet) bool { return p.Sightings[0].Source.Port == 37000 }
	// From outside: docker0 never sees it. One datagram each, a SYN is repeated.
	for _, port := range []string{"5000", "7777"} {
		must(t, e.CommandOutside("bash", "-c", "echo x > /dev/udp/192.0.2.10/"+port))
	}
	// From another network by the published port: the bridge shows the new address.
	s.knock("back", 37000, netip.AddrPortFrom(hostAddress, 8001))
	all := s.close()

	outside := only(t, "datagram from outside", with(all, func(j *journey) bool { return j.Hops[0].Destination.Port == 5000 }))
	same(t, "path", shape(outside), "host:eth0 in")
	same(t, "result", outside.Verdict.Result+" at "+outside.Verdict.Hook, "dropped at forward")
	if r := outside.Verdict.Rule; r == nil || r.Text != "-A DOCKER-USER -i eth0 -j DROP" {
		t.Errorf("dropped by %+v", r)
	}
	if got := kindsOf(outside); !slices.Equal(got, []string{"dnat"}) {
		t.Fatalf("translations %v", got)
	}
	if tr := outside.Translations[0]; tr.Evidence != "evaluated" || tr.ConntrackID != 0 || tr.After.Destination != (address{IP: back, Port: 5000}) ||
		tr.Rule == nil || tr.Rule.Text != rules.one(t, "-A DOCKER -p udp", "--to-destination "+back+":5000") {
		t.Errorf("%+v, rule %+v", tr, tr.Rule)
	}
	same(t, "to", outside.To.Name, "back")
	if len(outside.Flows) != 0 {
		t.Errorf("flows %v of a dropped packet", outside.Flows)
	}

	// What nobody publishes is for the host itself, which refuses it.
	own := only(t, "datagram to the host", with(all, func(j *journey) bool { return j.Hops[0].Destination.Port == 7777 }))
	if own.Verdict.Result != "delivered" || len(own.Translations) != 0 {
		t.Errorf("%s: %+v %+v", shape(own), own.Verdict, own.Translations)
	}

	syns := segments(all, 37000, "SYN")
	if len(syns) == 0 {
		t.Fatal("no SYN")
	}
	for _, j := range syns {
		if j.Verdict.Result != "dropped" || j.Verdict.Hook != "forward" || len(j.Flows) != 0 {
			t.Errorf("%s: %+v, flows %v", shape(j), j.Verdict, j.Flows)
		}
		if !strings.HasPrefix(j.Path(), "back:eth0 out "+back+" > 192.0.2.10\n") || !strings.HasSuffix(j.Path(), " in "+back+" > "+front) {
			t.Errorf("path\n%s", j.Path())
		}
		if got := kindsOf(j); !slices.Equal(got, []string{"dnat"}) {
			t.Fatalf("translations %v", got)
		}
		tr := j.Translations[0]
		if tr.Evidence != "evaluated" || tr.ConntrackID != 0 || tr.After.Destination != (address{IP: front, Port: 8000}) ||
			tr.Rule == nil || tr.Rule.Text != rules.one(t, "-A DOCKER -p tcp", "--to-destination "+front+":8000") {
			t.Errorf("%+v, rule %+v", tr, tr.Rule)
		}
		same(t, "to", j.To.Name, "front")
	}
}

// knock sends a SYN that nobody answers.
func (s *scene) knock(container string, port uint16, to netip.AddrPort) {
	s.t.Helper()
	ctx, stop := context.WithTimeout(s.t.Context(), 500*time.Millisecond)
	defer stop()
	conn, err := lab.DialTCP(ctx, s.e.Namespace(container), netip.AddrPortFrom(netip.IPv4Unspecified(), port), to)
	if err == nil {
		_ = conn.Close()
		s.t.Errorf("%v was reached", to)
	}
}
