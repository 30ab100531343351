package text

import (
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
