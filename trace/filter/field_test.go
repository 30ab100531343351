package filter

import (
	"math/rand/v2"
	"strings"
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
						f, err := newField(of, offset, 1)
						if err != nil {
							continue
						}
						if got, ok := atFirst(j, f); ok {
							asked[of]++
							if want := uint32(data[int(start)+int(offset)]); got != want {
								t.Fatalf("%v is %#x, want %#x", f, got, want)
							}
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

// atFirst is the field's value at the journey's first hop.
func atFirst(j *trace.Journey, f field) (uint32, bool) {
	s := sighting{journey: j, hop: &j.Hops[0], headers: &j.Hops[0].Headers}
	s.set(s.headers.Tuple, true)
	return f.value(s)
}

// What is offered instead of a byte that is not kept can be asked for, and what
// is not kept can't.
func TestFieldsNotKept(t *testing.T) {
	for h := range kept {
		for word := range strings.FieldsSeq(kept[h].hint) {
			word = strings.Trim(word, ",;")
			if !strings.Contains(word, "[") {
				continue
			}
			if _, err := Parse(word+" = 1", nil); err != nil {
				t.Errorf("offered instead: %v", err)
			}
		}
	}
	for _, expr := range []string{
		"ip[0]", "ip[10]", "ip[11:2]", "ip[20]", "ip6[1]", "ip6[6]", "ip6[40]", "tcp[12]", "tcp[12:2]", "tcp[16]", "udp[4:2]", "udp[3:2]",
		"sctp[4]", "icmp[2]", "icmp[1:2]", "icmp6[4:2]", "ether[12:2]", "ether[11:2]", "ip[4294967295]", "ip6[63:4]", "tcp[64]",
	} {
		if f, err := Parse(expr+" = 1", nil); err == nil {
			t.Errorf("%q is taken as %v", expr, f)
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
