package filter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"natlens/capture/packet"
	"natlens/trace"
)

// Whatever byte of a header can be asked for is the byte of the packet.
func TestFieldsAreThePacketsBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	asked := map[header]int{}
	for range 50 {
		for _, p := range over {
			for _, hosts := range [][]string{hosts4, hosts6} {
				data := randomFrame(t, r, hosts[0], hosts[1], p, r.IntN(4) == 0)
				j := seenOnce(data)
				h := &j.Hops[0].Headers
				starts := map[header]uint16{
					etherHeader: 0, ipHeader: h.NetworkOffset, ip6Header: h.NetworkOffset, tcpHeader: h.TransportOffset, udpHeader: h.TransportOffset,
					sctpHeader: h.TransportOffset, icmpHeader: h.TransportOffset, icmp6Header: h.TransportOffset,
				}
				for of, start := range starts {
					for offset := range uint32(70) {
						f := bytesOf(of, constant(offset), 1)
						got, ok := atFirst(j, f)
						if !ok {
							continue
						}
						asked[of]++
						if at := int(start) + int(offset); at >= len(data) || got != uint32(data[at]) {
							t.Fatalf("%v is %#x of % x", f, got, data)
						}
					}
				}
			}
		}
	}
	for of := range kept {
		if asked[header(of)] == 0 {
			t.Errorf("no packet has %s", kept[of].name)
		}
	}
}

// atFirst is the value at the journey's first hop.
func atFirst(j *trace.Journey, f value) (uint32, bool) {
	s := sighting{journey: j, hop: &j.Hops[0], headers: &j.Hops[0].Headers}
	s.set(s.headers.Tuple, true)
	return f.value(s)
}

// Bytes that not every hop has are known at the first one, as far as they were
// captured and are the packet's.
func TestCapturedBytes(t *testing.T) {
	data := randomFrame(t, rand.New(rand.NewPCG(3, 3)), hosts4[0], hosts4[1], packet.UDP, false)
	size := len(data) - 14
	last := fmt.Sprintf("ip[%d] = 0", size-1)
	for _, c := range []struct {
		expr             string
		data             []byte
		first, elsewhere bool
	}{
		{"udp[4:2] = " + strconv.Itoa(size-20), data, true, false},
		{"udp and ip[0] = 0x45", data, true, false},
		{"udp[0:2] != 0", data, true, true}, // every hop has it
		{last, data, true, false},
		{last, data[:len(data)-1], false, false},
		{last, nil, false, false},
		{fmt.Sprintf("ip[%d] = 0", size), append(slices.Clone(data), 0), false, false}, // padding
		{fmt.Sprintf("ip[%d:2] = 0", size-1), append(slices.Clone(data), 0), false, false},
		{"ip[4294967295] = 0 or ip[0 - 1:4] = 0 or udp[1000000] = 0", data, false, false},
		{"tcp[12] = 0 or icmp[4] = 0 or ip6[40] = 0", data, false, false}, // another protocol's
		{"udp[ip[2:2] - 21] = 0", data, true, false},
	} {
		j := seenOnce(data)
		j.Data = c.data
		if got := mustParse(t, c.expr).Match(j); got != c.first {
			t.Errorf("%q: %t at the first hop, want %t", c.expr, got, c.first)
		}
		j.Hops = append(make([]trace.Hop, 1), j.Hops...)
		if got := mustParse(t, c.expr).Match(j); got != c.elsewhere {
			t.Errorf("%q: %t at the second hop, want %t", c.expr, got, c.elsewhere)
		}
	}
}

// A super-packet longer than its length field can say has 0 there.
func TestLengthOfSuperPackets(t *testing.T) {
	j := seenOnce(randomFrame(t, rand.New(rand.NewPCG(1, 2)), hosts4[0], hosts4[1], packet.TCP, false))
	j.Hops[0].Headers.Length = 100_000
	if !mustParse(t, "ip[2:2] = 0 and len = 100014").Match(j) {
		t.Errorf("length of %d bytes", j.Hops[0].Headers.Length)
	}
}
