package trace

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/netinfo/netns"
)

// In a capture of all links that does not tell which, one packet is at one place several
// times, and so is another that looks the same.
func TestLinksThatAreNotToldApart(t *testing.T) {
	all := func(ns netns.ID, typ capture.PacketType) at { return at{ns, 0, typ} }
	sent, in, out := all(backNS, capture.Outgoing), all(hostNS, capture.Host), all(hostNS, capture.Outgoing)
	here, there := all(backNS, capture.Host), all(baseNS, capture.Host)
	for name, c := range map[string]struct {
		seen []at
		want int
	}{
		"a packet on its way out":       {[]at{sent, in, in, out}, 1},
		"to all ports":                  {[]at{out, out, here, out, there}, 1},
		"sent twice":                    {[]at{sent, in, in, out, sent, in, in, out}, 2},
		"sent again before it went out": {[]at{sent, in, in, sent}, 2},
		"come twice":                    {[]at{in, out, in, out}, 2},
	} {
		s := newForeignStage(t)
		for _, where := range c.seen {
			s.see(where, udp(t, port(backIP, 5), port(internetIP, 53), 7, "alike"))
		}
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != c.want {
			t.Errorf("%s: %d journeys, want %d: %s", name, len(s.journeys), c.want, s.verdicts())
		}
	}
}

// A flood of one packet does not make a journey that grows without end.
func TestJourneyWithoutLinksIsBounded(t *testing.T) {
	s := newForeignStage(t)
	for range 3 * maxAnonymous {
		s.see(at{hostNS, 0, capture.Host}, udp(t, port(internetIP, 5), port(hostIP, 53), 0, "alike"))
	}
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	for _, j := range s.journeys {
		if len(j.Hops) > maxAnonymous {
			t.Errorf("%d hops", len(j.Hops))
		}
	}
}

// Without an identification, what differs beyond the first words is another packet, and
// so is an acknowledgement with other options or another window.
func TestBytesTellApartWhatLinksDoNot(t *testing.T) {
	start := strings.Repeat("alike to begin with ", 3)
	for name, frames := range map[string][2][]byte{
		"datagrams": {udp6(t, port(backIP6, 5), port(internetIP6, 53), start+"one"), udp6(t, port(backIP6, 5), port(internetIP6, 53), start+"two")},
		"acknowledgements": {
			frame6(t, backIP6, internetIP6, acknowledgement(1, 1000)), frame6(t, backIP6, internetIP6, acknowledgement(2, 1000)),
		},
		"windows": {frame6(t, backIP6, internetIP6, acknowledgement(1, 1000)), frame6(t, backIP6, internetIP6, acknowledgement(1, 2000))},
	} {
		s := newForeignStage(t)
		for _, f := range frames {
			s.see(at{backNS, 0, capture.Outgoing}, f)
		}
		for _, f := range frames {
			s.see(at{hostNS, 0, capture.Host}, f)
		}
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 {
			t.Errorf("%s: %d journeys, want 2", name, len(s.journeys))
		}
		for _, j := range s.journeys {
			if len(j.Hops) != 2 || j.Hops[1].Time-j.Hops[0].Time != 2000 {
				t.Errorf("%s: %s", name, path(j))
			}
		}
	}
}

// acknowledgement is a segment whose selective acknowledgement is of that byte.
func acknowledgement(selected byte, window uint16) *layers.TCP {
	return &layers.TCP{SrcPort: 5, DstPort: 80, Seq: 7, Ack: 9, ACK: true, Window: window, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
		{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: []byte{0, 0, 0, selected, 0, 0, 0, selected + 1}},
	}}
}

// Later fragments of IPv6 with the same bytes are told apart by their identification.
func TestLaterFragmentsAtTwoPlaces(t *testing.T) {
	for ids, want := range map[[2]uint32]int{{7, 7}: 1, {7, 8}: 2} {
		s := newForeignStage(t)
		for i, where := range []at{bridgeOut, vethOut} {
			s.see(where, cut6(udp6(t, port(internetIP6, 80), port(backIP6, 5), strings.Repeat("natlens ", 300)), ids[i], 1448)[1])
		}
		s.pass(4 * time.Second)
		s.pass(4 * time.Second)
		if len(s.journeys) != want {
			t.Errorf("identifications %v: %d journeys, want %d", ids, len(s.journeys), want)
		}
	}
}

// Two errors of IPv6 look the same but for the ports that they quote.
func TestErrorsAboutTwoSocketsInAFile(t *testing.T) {
	s := newForeignStage(t)
	router := netip.MustParseAddr("fd00:1::1")
	for i, to := range []netip.Addr{backIP6, netip.MustParseAddr("fd00:1::3")} {
		about := udp6(t, port(to, uint16(40000+i)), port(internetIP6, 5000), "hello")[14:]
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeTimeExceeded, 0)}
		s.see([]at{vethIn, bridgeIn}[i], frame6(t, router, to, icmp, gopacket.Payload(append(make([]byte, 4), about...))))
	}
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 {
		t.Errorf("%d journeys, want 2", len(s.journeys))
	}
}

// Datagrams that are cut from two packets can have the identification of each other's
// place.
func TestDatagramsCutWhereLinksAreNotToldApart(t *testing.T) {
	s := newForeignStage(t)
	in, out := at{hostNS, 0, capture.Host}, at{hostNS, 0, capture.Outgoing}
	words := numbered(6000)
	for i, id := range []uint16{4711, 4713} {
		w := words[3000*i : 3000*(i+1)]
		s.see(in, udp(t, port(backIP, 4000), port(internetIP, 443), id, w))
		for _, d := range datagrams(t, port(hostIP, 4000), id, w, 1000) {
			s.see(out, d)
		}
	}
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 || len(s.journeys[0].Hops) != 4 || len(s.journeys[1].Hops) != 4 {
		t.Errorf("%d journeys, the first with %d hops", len(s.journeys), len(s.journeys[0].Hops))
	}
}
