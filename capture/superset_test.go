package capture_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/trace"
	"natlens/trace/filter"
)

// sighting is a packet at one place of its way: what the kernel's program is
// given there, and what the journey keeps of it.
type sighting struct {
	hatype, etherType uint32
	frame             []byte
}

// TestKernelPassesWhatTheFilterPicks holds that the program made of a filter's
// protocols passes a packet at all its places when the filter picks its journey,
// whatever NAT made of its addresses and ports and whatever link it passed.
func TestKernelPassesWhatTheFilterPicks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	type travelled struct {
		journey *trace.Journey
		seen    []sighting
	}
	var set []travelled
	for range 400 {
		j, seen := randomJourney(r)
		set = append(set, travelled{j, seen})
	}
	picked, stopped := 0, 0
	for i := range 1500 {
		expr := randomFilter(r, 3)
		if i%10 == 0 {
			expr = "vlan 5 and " + expr
		}
		pick, err := filter.Parse(expr, nil)
		if err != nil {
			if strings.Contains(err.Error(), "no packet can match") {
				continue
			}
			t.Fatalf("Parse(%q): %v", expr, err)
		}
		program := capture.FilterProgram(pick.Protocols(), 128)
		pass := func(s sighting) bool { return capture.RunFilter(t, program, s.hatype, s.etherType, s.frame) > 0 }
		for range 60 {
			w := set[r.IntN(len(set))]
			matches := pick.Match(w.journey)
			for i, s := range w.seen {
				switch passes := pass(s); {
				case matches && !passes:
					t.Fatalf("%q picks %v (protocols %v), but the kernel stops it at place %d: % x",
						expr, w.journey.Hops[i].Headers.Tuple, pick.Protocols(), i, s.frame)
				case matches:
					picked++
				case !passes:
					stopped++
				}
			}
		}
	}
	if picked < 10_000 || stopped < 10_000 {
		t.Errorf("%d sightings are picked and %d stopped: too few to tell", picked, stopped)
	}
}

func randomJourney(r *rand.Rand) (*trace.Journey, []sighting) {
	protocols := []byte{1, 2, 6, 6, 6, 17, 17, 17, 47, 50, 51, 58, 103, 132, byte(r.IntN(256))}
	p, six := protocols[r.IntN(len(protocols))], r.IntN(3) == 0
	payload := make([]byte, 20+r.IntN(40))
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	if p == 1 || p == 58 {
		payload[0] = []byte{0, 3, 8, 11, 128, 129, 135}[r.IntN(7)]
	}
	payload[12] = 5 << 4  // TCP: no options
	var extensions []byte // of IPv6, innermost first
	for range r.IntN(3) {
		extensions = append(extensions, []byte{0, 43, 60, 51}[r.IntN(4)])
	}
	fragment := uint16(0)
	if r.IntN(6) == 0 {
		extensions = append(extensions, 44)
		fragment = []uint16{0x2000, 0x0004, 0x2004}[r.IntN(3)]
	}
	j := &trace.Journey{Verdict: trace.Verdict{Result: trace.Delivered}}
	var seen []sighting
	for range 1 + r.IntN(4) { // each place has other addresses and ports
		binary.BigEndian.PutUint16(payload[0:], choose(r, binary.BigEndian.Uint16(payload[0:]), p, 22, 80, 2222))
		binary.BigEndian.PutUint16(payload[2:], choose(r, binary.BigEndian.Uint16(payload[2:]), p, 22, 80, 2222))
		ip := ipv4(r, p, fragment, payload)
		etherType := uint32(0x0800)
		if six {
			ip, etherType = ipv6(r, p, fragment, extensions, payload), 0x86dd
		}
		s, link := onLink(r, etherType, ip)
		hop := trace.Hop{Type: capture.OtherHost}
		// A ring has kept 40 bytes or all.
		kept := s.frame[:min(len(s.frame), 40+r.IntN(2)*200)]
		if hop.Headers.Parse(link, kept, uint32(len(s.frame))); !hop.Headers.IsIP() {
			hop.Headers.Parse(link, s.frame, uint32(len(s.frame))) // else it were on no journey
		}
		j.Hops, seen = append(j.Hops, hop), append(seen, s)
	}
	j.Protocol = j.Hops[0].Headers.Tuple.Protocol
	if r.IntN(2) == 0 {
		j.Translations = []trace.Translation{{
			Kind: trace.SNAT, Between: [2]int{0, -1},
			After: packet.NewTuple(j.Protocol, address(r, six), address(r, six), 22, 80),
		}}
	}
	return j, seen
}

// choose returns a new port where the protocol has any.
func choose(r *rand.Rand, old uint16, p byte, ports ...uint16) uint16 {
	if p != 6 && p != 17 && p != 132 {
		return old
	}
	return ports[r.IntN(len(ports))]
}

func address(r *rand.Rand, six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(1 + r.IntN(3))})
	}
	return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + r.IntN(3))})
}

func ipv4(r *rand.Rand, p byte, fragment uint16, payload []byte) []byte {
	header := 20 + 4*r.IntN(2)*r.IntN(2)
	b := make([]byte, header, header+len(payload))
	b[0], b[8], b[9] = 0x40|byte(header/4), 64, p
	binary.BigEndian.PutUint16(b[2:], uint16(header+len(payload)))
	binary.BigEndian.PutUint16(b[6:], fragment)
	source, destination := address(r, false).As4(), address(r, false).As4()
	copy(b[12:], source[:])
	copy(b[16:], destination[:])
	return append(b, payload...)
}

func ipv6(r *rand.Rand, p byte, fragment uint16, extensions, payload []byte) []byte {
	next := p
	for _, kind := range extensions {
		extension := []byte{next, 0, 0, 0, 0, 0, 0, 0}
		if kind == 44 {
			binary.BigEndian.PutUint16(extension[2:], fragment<<3|fragment>>13)
		}
		payload, next = append(extension, payload...), kind
	}
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	source, destination := address(r, true).As16(), address(r, true).As16()
	copy(b[8:], source[:])
	copy(b[24:], destination[:])
	return append(b, payload...)
}

// onLink puts the link's header before the packet: none, Ethernet's, or Ethernet's
// with one or two tags in the bytes.
func onLink(r *rand.Rand, etherType uint32, ip []byte) (sighting, packet.LinkType) {
	if r.IntN(5) == 0 {
		return sighting{capture.ArphrdNone, etherType, ip}, packet.RawIP
	}
	frame := make([]byte, 12)
	for range r.IntN(3) * r.IntN(2) {
		frame = append(frame, 0x81, 0, 0, 5)
	}
	frame = append(frame, byte(etherType>>8), byte(etherType))
	hatype := uint32(capture.ArphrdEther)
	if r.IntN(5) == 0 {
		hatype = capture.ArphrdLoopback
	}
	return sighting{hatype, etherType, append(frame, ip...)}, packet.Ethernet
}

func randomFilter(r *rand.Rand, depth int) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return "not (" + randomFilter(r, depth-1) + ")"
		case 1, 2:
			return "(" + randomFilter(r, depth-1) + pick(" and ", " or ") + randomFilter(r, depth-1) + ")"
		}
	}
	return pick(
		"tcp", "udp", "icmp", "icmp6", "sctp", "vrrp", "esp", "ah", "pim", "ip", "ip6",
		fmt.Sprintf("proto %d", 3+r.IntN(253)), "ip proto 6", "ip6 proto 17", "ip6 proto 58",
		"host 10.0.0.1", "src host fd00::2", "net 10.0.0.0/8", "port 22", "tcp dst port 80", "udp portrange 80-2222", "port 80 or 443",
		"len > 90", "tcp[tcpflags] & tcp-syn != 0", "udp[0:2] = 22", "icmp[icmptype] = icmp-echo", "icmp6[0] = 128", "ip[9] = 6", "ip6[7] = 64",
		"len = 0 or tcp[13] = 7", "multicast", "nat", "nat snat", "verdict delivered", "flow 7", "inbound", "container back",
	)
}
