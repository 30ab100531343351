package trace

import (
	"reflect"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// FuzzFootprints: a plain packet's headers are its tuple, its time to live, and what
// footprints keep of it.
func FuzzFootprints(f *testing.F) {
	t := new(testing.T)
	f.Add(uint8(packet.Ethernet), udp(t, port(backIP, 5), port(internetIP, 9), 7, "x"))
	f.Add(uint8(packet.Ethernet), ping(t, backIP, internetIP, 1, 2, true))
	f.Add(uint8(packet.RawIP), segment(t, 3, 1000, 200)[14:])
	f.Add(uint8(packet.Ethernet), append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 8, 0},
		udp(t, port(backIP, 5), port(internetIP, 9), 7, "x")[14:]...))
	f.Fuzz(func(t *testing.T, link uint8, data []byte) {
		var h packet.Headers
		h.Parse(packet.LinkType(link), data, uint32(len(data)))
		if h.Layers&^plain != 0 || !h.IsIP() {
			return
		}
		same, at := sameHeaderOf(&h), hopHeaderOf(&h)
		if got := same.headers(&at, h.Tuple, h.TTL); got != h {
			t.Errorf("%+v\nbecame %+v", h, got)
		}
		if !same.of(&h) {
			t.Errorf("%+v is not its own", h)
		}
		if h.ICMPID != 0 && h.ICMPID != h.Tuple.SourcePort {
			t.Errorf("%+v: a tuple without its identifier", h) // the look of a step has no other
		}
	})
}

// twoBridges is a host whose containers are on bridges of their own, so that what goes
// from one to the other is seen at six points.
func twoBridges() (*netinfo.Topology, []at) {
	const bridge2 = 7
	t, key := world(), netinfo.LinkKey{Namespace: hostNS, Index: bridge2}
	host := t.Namespace(hostNS)
	host.Links = append(host.Links, &netinfo.Link{Key: key, Name: "br2", Kind: "bridge", Role: netinfo.RoleBridge})
	for _, l := range host.Links {
		if l.Key.Index == vethBase {
			l.Master = &key
		}
	}
	return t.Seal(), []at{backOut, vethIn, bridgeIn, {hostNS, bridge2, capture.Outgoing}, baseVOut, baseIn}
}

// TestFootprintsAreWrittenOut: of a packet on a long trail the hops are told as those
// of the packet that found the way, with its own headers and times.
func TestFootprintsAreWrittenOut(t *testing.T) {
	s := newStage(t)
	w, way := twoBridges()
	s.c.SetTopology(w)
	frames := func(id uint16) (all [][]byte) {
		for i := range way {
			p := udp(t, port(backIP, 5), port(baseIP, 9), id, "x")
			if i > 2 { // routed: other MAC addresses, and a lower TTL
				p[5], p[11], p[22] = 7, 8, 63
			}
			all = append(all, p)
		}
		return all
	}
	for id := range uint16(4) {
		for i, p := range frames(id + 1) {
			s.see(way[i], p)
		}
		s.pass(50 * time.Millisecond)
	}
	trodden := 0
	for _, places := range s.c.trails.places {
		for _, p := range places {
			if p.trail != nil && int(p.trail.length) == len(way) {
				trodden++
			}
		}
	}
	if trodden != 1 || len(s.journeys) != 4 {
		t.Fatalf("%d trails of %d steps, %d journeys", trodden, len(way), len(s.journeys))
	}
	for n, j := range s.journeys {
		for i, p := range frames(uint16(n + 1)) {
			var h packet.Headers
			h.Parse(packet.Ethernet, p, uint32(len(p)))
			if j.Hops[i].Headers != h {
				t.Errorf("journey %d, hop %d: %+v, want %+v", n, i, j.Hops[i].Headers, h)
			}
			if apart := j.Hops[i].Time - j.Time; apart != int64(i)*1000 {
				t.Errorf("journey %d, hop %d: %d ns behind the first", n, i, apart)
			}
		}
		first := s.journeys[0]
		if path(j) != path(first) || !reflect.DeepEqual(j.Verdict, first.Verdict) {
			t.Errorf("journey %d: %s, %+v; want %s, %+v", n, path(j), j.Verdict, path(first), first.Verdict)
		}
	}
}

// A packet on a trail of which a hop says something else (a rule has marked it, a
// neighbour has a new MAC address) is told with what that hop says.
func TestPacketThatIsNotAsItsTrail(t *testing.T) {
	for _, change := range []struct {
		name string
		do   func(p []byte)
	}{
		{"DSCP", func(p []byte) { p[15] = 0xb8 }},
		{"MAC", func(p []byte) { p[5] = 0x99 }},
	} {
		s := newStage(t)
		all := []at{backOut, vethIn, baseVOut, baseIn}
		for id := range uint16(4) {
			for i, where := range all {
				p := udp(t, port(backIP, 5), port(baseIP, 9), id+1, "x")
				if id == 3 && i >= 2 {
					change.do(p)
				}
				s.see(where, p)
			}
			s.pass(50 * time.Millisecond)
		}
		if len(s.journeys) != 4 {
			t.Fatalf("%s: %d journeys", change.name, len(s.journeys))
		}
		for i := range all {
			a, b := s.journeys[2].Hops[i].Headers, s.journeys[3].Hops[i].Headers
			if b.IPID = a.IPID; (a == b) != (i < 2) {
				t.Errorf("%s, hop %d: %+v and %+v", change.name, i, a, b)
			}
		}
	}
}
