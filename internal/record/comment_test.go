package record

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

func TestComments(t *testing.T) {
	const host, inner netns.ID = 1, 2
	tuple := func(source, destination string) packet.Tuple {
		a, b := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
		return packet.NewTuple(packet.TCP, a.Addr(), b.Addr(), a.Port(), b.Port())
	}
	topology := (&netinfo.Topology{Self: host, Namespaces: []*netinfo.Namespace{{ID: host, Name: "host"}, {ID: inner, Name: "back"}}}).Seal()
	journey := func(spaces ...netns.ID) *trace.Journey {
		j := &trace.Journey{ID: 7, Topology: topology, Verdict: trace.Verdict{Result: trace.Delivered, Hop: len(spaces) - 1, Evidence: trace.ByTap}}
		for _, ns := range spaces {
			j.Hops = append(j.Hops, trace.Hop{Point: capture.Point{Namespace: ns}, Interface: "eth0"})
		}
		return j
	}
	reached := journey(host)
	reached.To.Name = "host"
	reached.Related = []trace.Relation{{ID: 3, Why: "reply_to"}, {ID: 2, Why: "retransmission_of"}}
	tracked := journey(host)
	tracked.Verdict.Evidence = trace.ByConntrack
	pieces := journey(host, inner)
	pieces.To.Name = "back"
	pieces.Hops[0].Part = &trace.Part{Index: 1, Of: 3}
	pieces.Hops[1].MergedWith = 2
	proxied := journey(host, inner)
	proxied.To.Name = "back"
	proxied.Related = []trace.Relation{{ID: 5, Why: "proxied_as"}}
	proxied.Notes = []string{"why 172.17.0.1:9 and not 127.0.0.1:8: docker-proxy\x1b took it", strings.Repeat("long ", 100), "3", "4"}
	proxied.Translations = []trace.Translation{{
		Kind: trace.Proxy, PeerJourney: 5, Between: [2]int{-1, -1}, Evidence: trace.BySocket,
		Before: tuple("127.0.0.1:8", "127.0.0.1:8000"), After: tuple("172.17.0.1:9", "172.17.0.2:8000"),
	}}
	for _, c := range []struct {
		j    *trace.Journey
		hop  int
		want []string
	}{
		{reached, 0, []string{"journey 7, hop 1 of 1; reply to journey 3; journey 2 again; reached this host"}},
		{tracked, 0, []string{"journey 7, hop 1 of 1; delivered to this host"}},
		{pieces, 0, []string{"journey 7, hop 1 of 2, piece 2 of 3"}},
		{pieces, 1, []string{"journey 7, hop 2 of 2, merged with 2 more; delivered to back"}},
		{proxied, 0, []string{
			"journey 7, hop 1 of 2; a process made it of journey 5; before, in docker-proxy, of journey 5: " +
				"source 127.0.0.1:8 became 172.17.0.1:9, destination 127.0.0.1:8000 became 172.17.0.2:8000 (PROXY, socket)",
			"note: why 172.17.0.1:9 and not 127.0.0.1:8: docker-proxy? took it", "note: " + strings.Repeat("long ", 39) + "long…", "note: 3",
		}},
		{proxied, 1, []string{"journey 7, hop 2 of 2; delivered to back"}},
	} {
		if got := comments(c.j, c.hop, 7); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
