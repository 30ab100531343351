package text

import (
	"slices"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/flows"
	"natlens/internal/view/viewtest"
	"natlens/netinfo/netfilter"
)

// TestFlowIsNamedByItsProtocol: by the name that /etc/protocols has, where it is a
// usual one; and no line of a change is wider than 80 columns.
func TestFlowIsNamedByItsProtocol(t *testing.T) {
	for protocol, want := range map[packet.Protocol]string{packet.ICMP: "icmp  ", packet.IGMP: "igmp  ", 47: "gre   ", 50: "esp   ", 132: "sctp  ", 136: "udplite ", 253: "253   "} {
		j := *viewtest.PingOut(1, 1)
		j.Protocol = protocol
		e := &flows.Entry{Flow: netfilter.Flow{Status: netfilter.Assured}, Journey: &j}
		if got := (Style{Names: true}).Flow(e, 0); !strings.HasPrefix(got, want) {
			t.Errorf("protocol %d: %s", protocol, got)
		}
	}
}

// TestFlowChangeSaysNoAgeOfWhatBeganJustNow, but of what has lived for a while, and of
// what has ended.
func TestFlowChangeSaysNoAgeOfWhatBeganJustNow(t *testing.T) {
	for _, c := range []struct {
		kind  netfilter.EventKind
		now   int64
		ended int64
		want  string
	}{
		{netfilter.New, 1e9, 0, ""}, {netfilter.Update, 1.5e9, 0, ""}, {netfilter.Update, 4e9, 0, "for 3s"},
		{netfilter.Destroy, 4e9, 4e9, "lived 3s"}, {netfilter.Destroy, 1.5e9, 1.5e9, "lived less than 1s"},
	} {
		j := viewtest.PingOut(1, 1)
		e := &flows.Entry{
			Flow: netfilter.Flow{Namespace: j.Topology.Self, TCPState: "ESTABLISHED"}, Seen: 1e9, Born: 1e9, Ended: c.ended, Journey: j,
		}
		first, _, _ := strings.Cut(Style{Width: 120}.FlowChange(&flows.Change{Kind: c.kind, Time: c.now, Entry: e}), "\n")
		_, age, _ := strings.Cut(first, "ESTABLISHED")
		if strings.TrimSpace(age) != c.want {
			t.Errorf("%s at %d: %q, want %q", c.kind, c.now, first, c.want)
		}
	}
}

// TestZonesAreShown: of a flow that has any, in each of its directions, and beside its
// number wherever that stands.
func TestZonesAreShown(t *testing.T) {
	for _, c := range []struct {
		zones                  netfilter.Zones
		original, reply, basis string
	}{
		{netfilter.Zones{}, "id 7", "id 7", "[ct 3047873481]"},
		{netfilter.Zones{5, 5}, "id 7  zone 5", "id 7  zone 5", "[ct 3047873481, zone 5]"},
		{netfilter.Zones{5, 0}, "id 7  zone 5", "id 7  zone 0", "[ct 3047873481, zone 5, reply zone 0]"},
	} {
		j := viewtest.PingOut(1, 1)
		j.Flows = slices.Clone(j.Flows)
		j.Flows[0].Zone, j.Flows[0].ReplyZone = c.zones[0], c.zones[1]
		st := Style{Width: 120}
		lines := strings.Split(st.Flow(&flows.Entry{Flow: j.Flows[0], Journey: j}, 0), "\n")
		if !strings.HasSuffix(lines[1], c.original) || !strings.HasSuffix(lines[2], c.reply) {
			t.Errorf("%v: %q", c.zones, lines[1:3])
		}
		basis := (&card{Style: st, j: j}).basis(&j.Translations[0], "ct")
		if basis != c.basis || !strings.Contains(st.Card(Detail{}, j), strings.TrimPrefix(basis, "[ct")) {
			t.Errorf("%v: %s, want %s in\n%s", c.zones, basis, c.basis, st.Card(Detail{}, j))
		}
	}
}
