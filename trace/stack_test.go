package trace

import (
	"encoding/binary"
	"testing"
	"time"

	"natlens/capture"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// tagged puts a VLAN's tag into a frame.
func tagged(frame []byte, vlan uint16) []byte {
	out := binary.BigEndian.AppendUint16(append([]byte(nil), frame[:12]...), 0x8100)
	return append(binary.BigEndian.AppendUint16(out, vlan), frame[12:]...)
}

// The same datagram with tags and without is several packets, whichever comes first
// at each point.
func TestTagsTellPacketsApart(t *testing.T) {
	s := newStage(t)
	plain := udp(t, port(backIP, 1), port(baseIP, 53), 9, "the same bytes")
	frames := [][]byte{plain, tagged(plain, 7), tagged(plain, 8)}
	for i, where := range []at{backOut, vethIn, baseVOut, baseIn} {
		for k := range frames {
			s.see(where, frames[(i+k)%len(frames)])
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 3 {
		t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
	}
	for _, j := range s.journeys {
		if got, want := path(j), "back/eth0:out host/vethback:in host/vethbase:out database/eth0:in"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		for i := range j.Hops {
			if j.Hops[i].Headers.VLAN != j.Hops[0].Headers.VLAN {
				t.Errorf("a packet of VLAN %d has a hop of VLAN %d", j.Hops[0].Headers.VLAN, j.Hops[i].Headers.VLAN)
			}
		}
		want := Delivered
		if j.Hops[0].Headers.VLAN != 0 {
			want = Vanished
		}
		if j.Verdict.Result != want || j.Verdict.Leak {
			t.Errorf("VLAN %d: %+v", j.Hops[0].Headers.VLAN, j.Verdict)
		}
	}
}

// standing gives a namespace a link on the host's uplink.
func standing(w *netinfo.Topology, ns netns.ID, index int32, name, kind string) {
	n := w.Namespace(ns)
	n.Links = append(n.Links, &netinfo.Link{
		Key: netinfo.LinkKey{Namespace: ns, Index: index}, Name: name, Kind: kind, Role: netinfo.RoleOther,
		Addresses: n.Links[len(n.Links)-1].Addresses, Parent: &netinfo.LinkKey{Namespace: hostNS, Index: uplink},
	})
}

// A VLAN's link in a container takes the tag off that its parent shows, and puts it
// on. An ipvlan's packets pass its parent, with its MAC address, without meeting NAT.
// Neither is a leak.
func TestLinksOnTheUplink(t *testing.T) {
	const index = 66
	inner, innerIn := at{backNS, index, capture.Outgoing}, at{backNS, index, capture.Host}
	for kind, tag := range map[string]uint16{"vlan": 7, "ipvlan": 0} {
		s := newStage(t)
		s.c.SetRuleset(masquerades(t))
		s.masqueraded(1) // so that the host is known to track
		s.pass(50 * time.Millisecond)
		s.journeys = nil
		w := world()
		standing(w, backNS, index, "sub0", kind)
		s.c.SetTopology(w.Seal())
		outside := func(f []byte) []byte {
			if tag == 0 {
				return f
			}
			return tagged(f, tag)
		}
		out, in := udp(t, port(backIP, 1), port(internetIP, 53), 1, "out"), udp(t, port(internetIP, 53), port(backIP, 1), 2, "in")
		s.see(inner, out)
		s.see(uplinkOut, outside(out))
		s.pass(50 * time.Millisecond)
		s.see(uplinkIn, outside(in))
		s.see(innerIn, in)
		s.pass(50 * time.Millisecond)
		s.pass(50 * time.Millisecond)
		if len(s.journeys) != 2 {
			t.Errorf("%s: %d journeys: %s", kind, len(s.journeys), s.verdicts())
			continue
		}
		for i, want := range []string{"back/sub0:out host/eth0:out left", "host/eth0:in back/sub0:in delivered"} {
			j := s.journeys[i]
			if got := path(j) + " " + string(j.Verdict.Result); got != want || j.Verdict.Leak || len(j.Translations) != 0 {
				t.Errorf("%s: %s, want %s; %+v", kind, got, want, j.Verdict)
			}
		}
	}
}
