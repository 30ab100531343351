package trace

import (
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// mixed is a container behind masquerade whose packets do, in an order left to chance,
// all that makes one leave the way of those before it.
type mixed struct {
	*stage
	random *rand.Rand
	id     uint16
	seq    uint32
}

func (m *mixed) next() uint16 {
	m.id++
	return m.id
}

func (m *mixed) datagram(out bool, words string) []byte {
	from := port(backIP, 4000)
	if out {
		from = port(hostIP, 4000)
	}
	return udp(m.t, from, port(internetIP, 443), m.id, words)
}

func (m *mixed) segment(out bool, seq uint32, size int) []byte {
	from := backIP
	if out {
		from = hostIP
	}
	return frame(m.t, from, internetIP, m.id, 64, &layers.TCP{SrcPort: 4000, DstPort: 80, Seq: seq, Ack: 1, ACK: true, Window: 1000},
		gopacket.Payload(make([]byte, size)))
}

var inside = []at{backOut, vethIn, bridgeIn}

// goes lets a packet be seen inside, and as others at the uplink.
func (m *mixed) goes(in []byte, out ...[]byte) {
	for _, where := range inside {
		m.see(where, in)
	}
	for _, p := range out {
		m.see(uplinkOut, p)
	}
}

func (m *mixed) step() {
	m.next()
	words := strings.Repeat("natlens ", 350)
	switch kind := m.random.IntN(40); kind {
	case 0: // handed over in one packet and cut
		in, out := m.datagram(false, words), datagrams(m.t, port(hostIP, 4000), m.id, words, 1000)
		for _, p := range append(out, in) {
			p[20] |= 0x40 // no router may fragment it
		}
		m.goes(in, out...)
		m.id += 3
	case 1: // fragments at the uplink alone
		m.goes(m.datagram(false, words[:1400]), cut(m.datagram(true, words[:1400]), 800)...)
	case 2: // a segment that is cut
		m.goes(m.segment(false, m.seq, 3000), m.segment(true, m.seq, 1000), m.segment(true, m.seq+1000, 1000), m.segment(true, m.seq+2000, 1000))
		m.seq += 3000
	case 3: // and one that is sent again
		m.goes(m.segment(false, m.seq-100, 100), m.segment(true, m.seq-100, 100))
	case 4: // not translated
		m.goes(m.datagram(false, "leak"), m.datagram(false, "leak"))
	case 5: // merged by the veth
		a, b := m.datagram(false, words[:100]), udp(m.t, port(backIP, 4000), port(internetIP, 443), m.next(), words[100:200])
		m.id--
		m.see(backOut, a)
		m.see(backOut, b)
		both := m.datagram(false, words[:200])
		m.see(vethIn, both)
		m.see(bridgeIn, both)
		m.see(uplinkOut, m.datagram(true, words[:200]))
		m.next()
	case 6, 7: // what its own link did not show
		m.see(vethIn, m.datagram(false, "late"))
		m.see(bridgeIn, m.datagram(false, "late"))
		m.see(uplinkOut, m.datagram(true, "late"))
	case 8: // lost
		m.goes(m.datagram(false, "lost"))
	case 9: // twice the same
		for range 2 {
			m.goes(m.datagram(false, "same"), m.datagram(true, "same"))
		}
	case 10: // another time to live, and another class
		p := m.datagram(false, "class")
		for _, where := range inside {
			m.see(where, p)
		}
		p = m.datagram(true, "class")
		p[15], p[22] = 0xb8, 3
		m.see(uplinkOut, p)
	default:
		if kind%2 == 0 {
			m.goes(m.datagram(false, "small"), m.datagram(true, "small"))
			return
		}
		m.goes(m.segment(false, m.seq, 100), m.segment(true, m.seq, 100))
		m.seq += 100
	}
}

func mix(t *testing.T, seed uint64, trails bool) (all []*Journey) {
	m := &mixed{stage: newStage(t), random: rand.New(rand.NewPCG(seed, 0)), seq: 1000}
	if !trails {
		m.c.unsettled = math.MaxInt64
	}
	m.masqueradedUDP()
	m.flow(netfilter.Known, netfilter.Flow{ID: 10,
		Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80), Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, 4000)})
	m.pass(time.Second)
	for range 400 {
		m.step()
		if m.random.IntN(3) == 0 {
			m.pass(time.Duration(m.random.IntN(60)) * time.Millisecond)
		}
		if m.random.IntN(40) == 0 { // pieces are forgotten
			m.pass(5 * time.Second)
			m.pass(5 * time.Second)
		}
	}
	m.pass(5 * time.Second)
	m.pass(5 * time.Second)
	return m.journeys
}

// TestTrailsChangeNothingOfWhatLeavesThem: see TestTrailsChangeNothing. Here it is the
// packets that do not always do what those before them did.
func TestTrailsChangeNothingOfWhatLeavesThem(t *testing.T) {
	for seed := range uint64(8) {
		with, without := mix(t, seed, true), mix(t, seed, false)
		if len(with) != len(without) {
			t.Errorf("seed %d: %d journeys, %d without trails", seed, len(with), len(without))
		}
		for i := range min(len(with), len(without)) {
			if !reflect.DeepEqual(with[i], without[i]) {
				t.Fatalf("seed %d: journey %d\nwith trails    %s %+v\nwithout trails %s %+v", seed, i, path(with[i]), with[i], path(without[i]), without[i])
			}
		}
	}
}
