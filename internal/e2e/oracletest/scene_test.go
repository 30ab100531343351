package oracletest

import (
	"slices"
	"testing"
	"time"
)

// The scene is a host, space 1, which masquerades what its container, space 2, sends.
const (
	hostSpace, backSpace = 1, 2
	back, gateway        = "172.17.0.2", "172.17.0.1"
	host, world          = "192.0.2.10", "198.51.100.7"
	world6, back6        = "2001:db8::1", "fd00::2"
)

// Where a packet of the container leaves, and where its answer comes in.
var (
	leaving  = []place{{backSpace, 10, true}, {hostSpace, 5, false}, {hostSpace, 4, false}, {hostSpace, 2, true}}
	arriving = []place{{hostSpace, 2, false}, {hostSpace, 4, true}, {hostSpace, 5, true}, {backSpace, 10, false}}
)

// scene is what tcpdump and conntrack saw, and the journeys that say the same.
type scene struct {
	sightings []Sighting
	entries   []Entry
	journeys  []Journey
	now       int64
}

func newScene() *scene { return &scene{now: 1e18} }

// pass lets time pass between packets.
func (s *scene) pass(d time.Duration) { s.now += int64(d) }

// flow is a masqueraded one.
func (s *scene) flow(protocol string, port uint16, icmpID int) {
	s.entries = append(s.entries, Entry{
		ID: uint64(len(s.entries) + 1), Protocol: protocol, ICMP: [2]int{icmpID, icmpID},
		Original: [2]Address{{back, port}, {world, worldPort(port)}}, Reply: [2]Address{{world, worldPort(port)}, {host, port}}})
}

func worldPort(port uint16) uint16 { return min(port, 53) } // echoes have none

// packet shows one at each place in turn, and returns its sightings. Behind an uplink
// its address is the host's.
func (s *scene) packet(places []place, p Sighting) []Sighting {
	var all []Sighting
	for _, at := range places {
		o := p
		o.Space, o.Ifindex, o.Out, o.Time = at.space, at.ifindex, at.out, s.now
		if o.Type = otherHost; o.Out {
			o.Type = outgoing
		} else if at.space == backSpace {
			o.Type = toHost
		}
		for _, a := range []*Address{&o.Source, &o.Dest} {
			if a.IP == back && at == (place{hostSpace, 2, at.out}) {
				a.IP = host
			}
		}
		o.whole, o.beginning = tuple{o.Protocol, o.Source, o.Dest, o.ICMPID}, o.payload
		all = append(all, o)
		s.now += int64(10 * time.Microsecond)
	}
	return all
}

const otherHost = 3 // packet(7)

// tell adds the sightings of one packet, and a journey that says the same.
func (s *scene) tell(sightings ...[]Sighting) *Journey {
	all := slices.Concat(sightings...)
	s.sightings = append(s.sightings, all...)
	j := Journey{Kind: "journey", ID: uint64(len(s.journeys) + 1), Direction: "original"}
	for i := range all {
		j.Hops = append(j.Hops, hopOf(&all[i]))
	}
	last := &all[len(all)-1]
	j.Verdict.Result, j.Verdict.Evidence, j.Verdict.At = "left", "tap", float64(len(all)-1)
	if !last.Out {
		j.Verdict.Result = "delivered"
	}
	if all[0].Source.IP == world {
		j.Direction = "reply"
	}
	flows := flowsOf(s.entries, nil)
	for i := 1; i < len(all); i++ {
		before, after := all[i-1].whole, all[i].whole
		if before == after || all[i].Time < all[i-1].Time || all[i].Offset != all[i-1].Offset {
			continue
		}
		entry := flowOf(flows, &all[i]).entry
		t := Translation{Kind: "masquerade", Between: [2]*int{new(i - 1), new(i)}, Evidence: "conntrack", ConntrackID: entry.ID}
		t.Before.Source, t.Before.Destination = before.source, before.dest
		t.After.Source, t.After.Destination = after.source, after.dest
		j.Translations = append(j.Translations, t)
	}
	s.journeys = append(s.journeys, j)
	return &s.journeys[len(s.journeys)-1]
}

// hopOf is the hop that says what a sighting does. natlens stamps a little later.
func hopOf(s *Sighting) Hop {
	h := Hop{Time: time.Unix(0, s.Time+2000), NamespaceInode: s.Space, Ifindex: s.Ifindex, Direction: "in",
		Source: s.Source, Destination: s.Dest, IPID: s.IPID, Length: s.Length}
	if s.Out {
		h.Direction = "out"
	}
	switch {
	case s.Offset > 0:
	case s.Protocol == icmp || s.Protocol == icmp6:
		h.ICMP = &struct{ Type, Code, ID, Seq int }{s.ICMPType, 0, s.ICMPID, s.ICMPSeq}
	case s.Protocol == tcp:
		h.TCP = &struct {
			Seq, Ack uint32
			Flags    string
		}{s.TCPSeq, s.TCPAck, ""}
	}
	return h
}

// judge is what the oracle makes of the scene.
func (s *scene) judge() *Table {
	h := &Host{
		Addresses:  map[uint64]map[string]bool{hostSpace: {host: true, gateway: true}, backSpace: {back: true, back6: true}},
		Containers: map[uint64]string{backSpace: "back"}, Self: hostSpace,
		Uplinks: map[int]bool{2: true}, Inside: map[string]bool{back: true},
	}
	// Sightings come by recorder, not by packet.
	sightings := slices.Clone(s.sightings)
	slices.SortStableFunc(sightings, func(a, b Sighting) int { return a.Ifindex - b.Ifindex })
	return NewOracle(s.entries, nil, sightings, 0).Judge(slices.Clone(s.journeys), h, 0, func(*Packet) string { return "scene" })
}

// expectFaults fails the test when others are found than those wanted.
func (s *scene) expectFaults(t *testing.T, want ...Fault) {
	t.Helper()
	table := s.judge()
	var got []Fault
	for f, n := range table.Total().Wrong {
		if n > 0 {
			got = append(got, Fault(f))
		}
	}
	if !slices.Equal(got, want) || table.Perfect() != (len(want) == 0) || table.Total().Packets == 0 {
		t.Errorf("faults %v, want %v; perfect %v\n%s%q", got, want, table.Perfect(), table, table.Examples)
	}
}

// A packet of each kind.
func question(port, id uint16, words string) Sighting {
	return Sighting{Protocol: udp, Source: Address{back, port}, Dest: Address{world, worldPort(port)}, IPID: id, Length: 28 + len(words), payload: words}
}

func echo(id, seq int) Sighting {
	return Sighting{Protocol: icmp, Source: Address{IP: back}, Dest: Address{IP: world}, IPID: uint16(seq), Length: 84, ICMPType: 8, ICMPID: id, ICMPSeq: seq}
}

// answer is a packet of the other direction.
func (s Sighting) answer() Sighting {
	s.Source, s.Dest, s.IPID = s.Dest, s.Source, s.IPID+1000
	if s.Protocol == icmp {
		s.ICMPType = 0
	}
	return s
}
