package trace

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// colliding are datagrams of two containers with one identification, and of one
// size, as nothing keeps senders from. Behind the masquerade their pieces have the same
// addresses.
type colliding struct {
	*stage
	of map[int64]int // which datagram was seen at that time
}

const collidingSize = 3000

func (c *colliding) words(i int) string {
	return string(bytes.Repeat(fmt.Appendf(nil, "datagram %06d ", i), collidingSize/16))
}

func (c *colliding) sender(i int) (ip netip.Addr, out, in at) {
	if i == 0 {
		return backIP, backOut, vethIn
	}
	return baseIP, baseOut, baseVIn
}

func (c *colliding) frame(t *testing.T, source netip.Addr, i int) []byte {
	return udp(t, port(source, uint16(5000+i)), port(internetIP, 80), 77, c.words(i))
}

func (c *colliding) seeOf(i int, where at, frame []byte) {
	c.see(where, frame)
	c.of[c.now] = i
}

// play lets the pieces of both pass, mixed at every point. whole: the bridge shows
// them reassembled, and they are cut anew, to that size, one behind the other, and the
// last piece of the first gets lost.
func (c *colliding) play(t *testing.T, random *rand.Rand, whole bool, size int) {
	type step struct {
		where at
		frame []byte
	}
	ways := make([][]step, 2)
	for i := range ways {
		ip, out, in := c.sender(i)
		for _, f := range cut(c.frame(t, ip, i), 1480) {
			ways[i] = append(ways[i], step{out, f}, step{in, f})
		}
		if whole {
			ways[i] = append(ways[i], step{bridgeIn, c.frame(t, ip, i)})
		}
		for _, f := range cut(c.frame(t, hostIP, i), size) {
			ways[i] = append(ways[i], step{uplinkOut, f})
		}
	}
	if whole { // one piece gets lost, whose place another's could take
		ways[0] = ways[0][:len(ways[0])-1]
	}
	for {
		left := slices.DeleteFunc([]int{0, 1}, func(i int) bool { return len(ways[i]) == 0 })
		if len(left) == 0 {
			return
		}
		i := left[random.IntN(len(left))]
		for {
			s := ways[i][0]
			ways[i] = ways[i][1:]
			c.seeOf(i, s.where, s.frame)
			if !whole || s.where != uplinkOut || len(ways[i]) == 0 {
				break
			}
		}
	}
}

func TestPiecesWithOneIdentificationAreToldApart(t *testing.T) {
	for _, known := range []bool{true, false} { // by connection tracking, or packets are all there is
		for _, whole := range []bool{false, true} {
			t.Run(fmt.Sprintf("flows known %v, reassembled %v", known, whole), func(t *testing.T) {
				for seed := range uint64(200) {
					c := &colliding{newForeignStage(t), map[int64]int{}}
					const n = 2
					if known {
						c.stage = newStage(t)
					}
					for i := range n {
						if known {
							ip, _, _ := c.sender(i)
							number := uint16(5000 + i)
							c.flow(netfilter.Known, netfilter.Flow{ID: uint32(i + 1),
								Original: udpTuple(port(ip, number), port(internetIP, 80)), Reply: udpTuple(port(internetIP, 80), port(hostIP, number))})
						}
					}
					c.play(t, rand.New(rand.NewPCG(seed, 0)), whole, map[bool]int{false: 1480, true: 1000}[whole])
					c.pass(4 * time.Second)
					c.pass(4 * time.Second)
					if len(c.journeys) != n {
						t.Fatalf("seed %d: %d journeys, want %d: %s", seed, len(c.journeys), n, c.verdicts())
					}
					for _, j := range c.journeys {
						for i := range j.Hops {
							if got, want := c.of[j.Hops[i].Time], c.of[j.Hops[0].Time]; got != want {
								t.Fatalf("seed %d: hop %d of the journey of datagram %d is of datagram %d: %s", seed, i, want, got, path(j))
							}
						}
					}
				}
			})
		}
	}
}

// One identification does not make one of two packets that are whole.
func TestWholePacketsWithOneIdentificationStayApart(t *testing.T) {
	s := newForeignStage(t)
	words := func(first byte) string { return string(bytes.Repeat([]byte{first}, 800)) }
	s.see(backOut, udp(t, port(backIP, 5), port(internetIP, 80), 77, words('a')))
	s.see(baseOut, udp(t, port(baseIP, 5), port(internetIP, 80), 77, words('b')))
	s.see(uplinkOut, udp(t, port(hostIP, 5), port(internetIP, 80), 77, words('c')))
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 3 {
		t.Errorf("%d journeys, want 3: %s", len(s.journeys), s.verdicts())
	}
}

// A datagram that is fragmented again has two identifications, and can be found by
// both. When it is in too many pieces it is given up once.
func TestTooManyPiecesWithTwoIdentifications(t *testing.T) {
	s := newStage6(t)
	s.masquerade66(9, 5, 80)
	const pieces = maxPieceHops / 4 // at each of four points
	inner := udp6(t, port(backIP6, 5), port(internetIP6, 80), strings.Repeat("natlens!", pieces-1))
	outer := udp6(t, port(hostIP6, 5), port(internetIP6, 80), strings.Repeat("natlens!", pieces-1))
	for _, where := range []at{backOut, vethIn, bridgeIn} {
		for _, f := range cut6(inner, 7, 8) {
			s.see(where, f)
		}
	}
	for _, f := range cut6(outer, 8, 8) {
		s.see(uplinkOut, f)
	}
	s.pass(0)
	s.pass(time.Millisecond)
	if n := len(s.c.parts.whole.recent); n != 2 || s.c.Open() != 1 {
		t.Fatalf("%d open journeys can be found in %d ways, want 1 in 2", s.c.Open(), n)
	}
	s.see(uplinkIn, udp6(t, port(internetIP6, 1), port(hostIP6, 2), strings.Repeat("whatever", pieces-1))) // as long
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if len(s.journeys) != 2 || len(s.journeys[0].Hops) != maxPieceHops || s.c.Counters().Evicted != 1 {
		t.Errorf("%d journeys, %d hops, %d evicted", len(s.journeys), len(s.journeys[0].Hops), s.c.Counters().Evicted)
	}
}
