package trace

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Datagrams that overtake each other between two points stay themselves: what is
// in them tells, not their order.
func TestPacketsThatOvertake(t *testing.T) {
	s := newStage(t)
	const n = 5
	for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		for i := range uint16(n) {
			id := 1 + i
			if where == baseVOut || where == baseIn {
				id = n - i
			}
			s.see(where, udp(t, port(backIP, 1), port(baseIP, 53), id, fmt.Sprint("number ", id)))
		}
	}
	s.wantLast("delivered delivered delivered delivered delivered", 0)
	for _, j := range s.journeys {
		for _, h := range j.Hops {
			if h.Headers.IPID != j.Hops[0].Headers.IPID {
				t.Errorf("packet %d has a hop of %d", j.Hops[0].Headers.IPID, h.Headers.IPID)
			}
		}
		if len(j.Hops) != 4 {
			t.Errorf("packet %d: %s", j.Hops[0].Headers.IPID, path(j))
		}
	}
}

// Stamps of one ring are not monotone: a packet can come before one with an older
// stamp. Journeys follow the stamps.
func TestStampsThatAreNotInOrder(t *testing.T) {
	s := newStage(t)
	for i := range uint16(2) {
		d := udp(t, port(backIP, 1), port(baseIP, 53), i, fmt.Sprint("number ", i))
		for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
			s.see(where, d)
		}
	}
	// The second packet's sightings first, and of each packet the last one first.
	for i, k := 0, len(s.batch)-1; i < k; i, k = i+1, k-1 {
		s.batch[i], s.batch[k] = s.batch[k], s.batch[i]
	}
	s.pass(50 * time.Millisecond)
	s.pass(50 * time.Millisecond)
	way := want{path: "back/eth0:out host/vethback:in host/vethbase:out database/eth0:in", from: "back", to: "database", direction: NoDirection, verdict: "delivered by tap"}
	s.expect(way, way)
	if s.journeys[0].Hops[0].Headers.IPID != 0 || s.journeys[0].Time >= s.journeys[1].Time {
		t.Error("journeys are not in the order of their stamps")
	}
}

// Datagrams need have no identification, and in IPv6 have none. When two differ in what
// is not compared of each packet, the second is no duplicate of the first.
func TestDatagramsThatLookAlikeAreNoDuplicates(t *testing.T) {
	s := newStage(t)
	for _, end := range []string{"first", "other"} {
		d := udp(t, port(backIP, 1), port(baseIP, 53), 0, strings.Repeat("the same words ", 4)+end)
		for _, where := range []at{backOut, vethIn, baseVOut, baseIn} {
			s.see(where, d)
		}
	}
	s.wantLast("delivered delivered", 0)
	for _, j := range s.journeys {
		if len(j.Related) > 0 {
			t.Errorf("#%d is related to %v, want nothing", j.ID, j.Related)
		}
	}
}

// The same datagram twice from its sender is two journeys, the second related to
// the first, whether the second comes at once or behind the first.
func TestDuplicatesAreJourneysOfTheirOwn(t *testing.T) {
	for name, together := range map[string]bool{"one after the other": false, "together": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			d := udp(t, port(backIP, 1), port(baseIP, 53), 77, "twice")
			points := []at{backOut, vethIn, baseVOut, baseIn}
			for i := range 2 * len(points) {
				where := points[i%len(points)]
				if together {
					where = points[i/2]
				}
				s.see(where, d)
			}
			s.wantLast("delivered delivered", 0)
			if len(s.journeys) != 2 || len(s.journeys[0].Related) != 0 {
				t.Fatalf("%d journeys", len(s.journeys))
			}
			if r := s.journeys[1].Related; len(r) != 1 || r[0] != (Relation{ID: s.journeys[0].ID, Why: "duplicate_of"}) {
				t.Errorf("related %v", r)
			}
		})
	}
}

// What goes from one macvlan to another has one stamp at both and at their parent,
// whose rings are read in any order: it went out, up to the parent, and in.
func TestStackOfLinksWithOneStamp(t *testing.T) {
	const mac0 = 66
	w := world()
	for _, id := range []netns.ID{backNS, baseNS} {
		n := w.Namespace(id)
		n.Links = append(n.Links, &netinfo.Link{
			Key: netinfo.LinkKey{Namespace: id, Index: mac0}, Name: "mac0", Kind: "macvlan", Role: netinfo.RoleOther,
			Addresses: n.Links[0].Addresses, Parent: &netinfo.LinkKey{Namespace: hostNS, Index: uplink},
		})
	}
	w.Seal()
	out, parent, in := at{backNS, mac0, capture.Outgoing}, at{hostNS, uplink, capture.OtherHost}, at{baseNS, mac0, capture.Host}
	const way = "back/mac0:out host/eth0:in database/mac0:in"
	for _, seen := range [][]at{
		{out, parent, in}, {out, in, parent}, {parent, out, in}, {parent, in, out}, {in, out, parent}, {in, parent, out},
	} {
		s := newStage(t)
		s.c.SetTopology(w)
		for _, where := range seen {
			s.see(where, udp(t, port(backIP, 1), port(baseIP, 53), 1, "one buffer"))
			s.now -= 1000
		}
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 1 || path(s.journeys[0]) != way || s.journeys[0].Verdict.Result != Delivered {
			for _, j := range s.journeys {
				t.Errorf("read in the order %v: %s, %s", seen, path(j), j.Verdict.Result)
			}
		}
	}
}
