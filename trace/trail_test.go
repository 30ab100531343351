package trace

import (
	"math"
	"reflect"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// eventful lets a host do all that changes what is known of a packet: connections come
// and go, some with tuples that others had a moment ago, links and rules change,
// rings come late. It returns the journeys, with room for so many trails or with none.
func eventful(places int) (journeys []*Journey, trodden int) {
	l := newLoad(1<<12, 512, Sink{Journey: func(j *Journey) { journeys = append(journeys, j) }})
	if l.trails.places = make([][fork]signpost, max(places/fork, 1)); places == 0 {
		l.unsettled = math.MaxInt64
	}
	for turn := range 56 {
		l.mix(perTurn)
		f, other := l.flows[turn*7], l.flows[turn*5]
		ns := netns.ID(firstContainer + f.container)
		l.passes(f)
		switch turn / 8 {
		case 0: // its port is used again, by another entry
			l.tell(f, netfilter.Destroy)
			f.entry.ID += 1 << 20
			l.tell(f, netfilter.New)
		case 1: // an entry with the same tuple, and the old one not told of again
			f.entry.ID += 1 << 21
			l.tell(f, netfilter.New)
		case 2: // its entry is gone, and its packets are not
			l.tell(f, netfilter.Destroy)
			l.now += 900e6
			for range 8 { // until it is forgotten
				l.passes(f)
				l.now += 900e6
			}
		case 3:
			world := loadWorld()
			if turn%2 == 1 { // the ports of the bridge leave it
				for _, link := range world.Namespaces[0].Links {
					link.Master = nil
				}
			}
			l.SetTopology(world)
		case 4:
			l.Forget(ns, l.now)
		case 5:
			l.Watch(ns, l.now+5e6)
		case 6: // packets that look the same, and others that are not for this host
			for range 20 {
				l.pass(f)
				l.count--
				l.pass(f)
				l.pass(other)
				l.rings[0][len(l.rings[0])-1].Type = capture.OtherHost
			}
		}
		l.passes(f)
	}
	l.deliver()
	for _, places := range l.trails.places {
		for _, p := range places {
			if p.trail != nil {
				trodden += int(p.trail.length)
			}
		}
	}
	l.Flush()
	return journeys, trodden
}

// passes lets a few packets of a connection pass, asking and answering.
func (l *load) passes(f *loadFlow) {
	for range 8 {
		l.pass(f)
	}
	l.deliver()
}

// TestTrailsChangeNothing: what is told by looking where the packet before went is
// what is told by looking for each packet anew.
func TestTrailsChangeNothing(t *testing.T) {
	without, none := eventful(0)
	if none != 0 {
		t.Errorf("%d steps without trails", none)
	}
	for _, places := range []int{maxTrails, 64} { // for which many contend
		with, trodden := eventful(places)
		if trodden < places/8 {
			t.Errorf("%d places: %d steps", places, trodden)
		}
		if len(with) != len(without) {
			t.Fatalf("%d places: %d journeys, %d without trails", places, len(with), len(without))
		}
		for i := range with {
			if !reflect.DeepEqual(with[i], without[i]) {
				t.Fatalf("%d places: journey %d\nwith trails    %+v\nwithout trails %+v", places, i, with[i], without[i])
			}
		}
	}
}

// A trail's last step can be the last no more when a topology tells of the other end.
func TestTrailEndsWithANewTopology(t *testing.T) {
	s := newStage(t)
	w := world()
	for _, l := range w.Namespace(hostNS).Links {
		l.Peer = nil
	}
	s.c.SetTopology(w.Seal())
	p := func(id uint16) []byte { return udp(t, port(gatewayIP, 5), port(backIP, 9), id, "x") }
	for id := range uint16(3) {
		s.see(bridgeOut, p(id+1))
		s.see(vethOut, p(id+1))
		s.pass(50 * time.Millisecond)
	}
	s.pass(time.Second)
	s.c.SetTopology(world())
	s.journeys = nil
	s.see(bridgeOut, p(9))
	s.see(vethOut, p(9))
	s.pass(time.Second) // in a queue
	s.see(backIn, p(9))
	s.pass(time.Second)
	s.pass(50 * time.Millisecond)
	s.expect(want{path: "host/docker0:out host/vethback:out back/eth0:in", from: "host", to: "back", direction: NoDirection, verdict: "delivered by tap"})
}

// Of two packets that look the same one is lost: which it was is not known, though the
// first of them went where all did before.
func TestTrailOfTwoThatLookTheSame(t *testing.T) {
	s := newStage(t)
	p := func(payload string) []byte { return udp(t, port(backIP, 5), port(baseIP, 9), 0, payload) }
	all := []at{backOut, vethIn, baseVOut, baseIn}
	for _, payload := range []string{"a", "b", "c"} {
		for _, where := range all {
			s.see(where, p(payload))
		}
		s.pass(50 * time.Millisecond)
	}
	s.pass(time.Second)
	s.journeys = nil
	for i, where := range all {
		s.see(where, p("same"))
		if i < 2 {
			s.see(where, p("same"))
		}
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	s.pass(50 * time.Millisecond)
	if len(s.journeys) < 2 {
		t.Fatalf("%d journeys, want two", len(s.journeys))
	}
	for _, j := range s.journeys {
		if j.Verdict.Evidence != Ambiguous {
			t.Errorf("#%d, %s: %s by %s", j.ID, path(j), j.Verdict.Result, j.Verdict.Evidence)
		}
	}
}

// What differs in where it is seen, or in what a step's headers have, looks different.
func TestLooks(t *testing.T) {
	x := newTrails()
	var h packet.Headers
	p := udp(t, port(backIP, 5), port(internetIP, 9), 7, "x")
	h.Parse(packet.Ethernet, p, uint32(len(p)))
	known := map[uint64]string{x.look(hostNS, 2, capture.Host, &h): "itself"}
	add := func(name string, look uint64) {
		if other, ok := known[look]; ok {
			t.Errorf("%s looks like %s", name, other)
		}
		known[look] = name
	}
	add("another namespace", x.look(backNS, 2, capture.Host, &h))
	add("another link", x.look(hostNS, 3, capture.Host, &h))
	add("another type", x.look(hostNS, 2, capture.Outgoing, &h))
	for name, change := range map[string]func(*packet.Headers){
		"another source MAC":      func(h *packet.Headers) { h.SourceMAC[5]++ },
		"and its first byte":      func(h *packet.Headers) { h.SourceMAC[0]++ },
		"another destination MAC": func(h *packet.Headers) { h.DestinationMAC[5]++ },
		"the first byte of that":  func(h *packet.Headers) { h.DestinationMAC[0]++ },
		"both MACs changed":       func(h *packet.Headers) { h.SourceMAC, h.DestinationMAC = h.DestinationMAC, h.SourceMAC },
		"another VLAN":            func(h *packet.Headers) { h.VLAN = 7 },
		"other layers":            func(h *packet.Headers) { h.Layers |= packet.LayerVLAN },
		"another EtherType":       func(h *packet.Headers) { h.EtherType++ },
		"another tuple":           func(h *packet.Headers) { h.Tuple.SourcePort++ },
		"the inverse tuple":       func(h *packet.Headers) { h.Tuple = h.Tuple.Inverse() },
	} {
		other := h
		change(&other)
		add(name, x.look(hostNS, 2, capture.Host, &other))
	}
	for field, was := range map[string]func(*packet.Headers){
		"identification": func(h *packet.Headers) { h.IPID++ },
		"time to live":   func(h *packet.Headers) { h.TTL-- },
	} {
		other := h
		was(&other)
		if known[x.look(hostNS, 2, capture.Host, &other)] != "itself" {
			t.Errorf("the %s makes a look of its own", field)
		}
	}
}
