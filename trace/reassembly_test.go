package trace

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// publishes is a Ruleset of the host that sends what comes to UDP port 5353 to port 53 of
// an address, and drops what is for a port at a hook.
func publishes(t *testing.T, to netip.Addr, hook netfilter.Hook, dropped uint16) *netfilter.Ruleset {
	t.Helper()
	family, nf, bytes := "ip", 2, to.AsSlice()
	if to.Is6() {
		family, nf = "ip6", 10
	}
	base64of := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	number := func(n uint16) string { return base64of(binary.BigEndian.AppendUint16(nil, n)) }
	port := func(n uint16) string {
		return fmt.Sprintf(`{"n": "payload", "r": [0, 1], "h": [false, true], "p": [2, 2, 2]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": %q}`, number(n))
	}
	r := &netfilter.Ruleset{}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": 1, "Time": 1, "Whole": true, "Bridged": [2, 2], "Base": [[0, 0], [1, 0]], "Tables": [
		{"Family": %q, "Name": "nat", "Xtables": true, "Chains": [{"Name": "PREROUTING", "Base": true, "NAT": true, "Hook": "prerouting", "Priority": -100, "Policy": 1, "Rules": [
			{"Ref": {"Backend": "iptables-nft", "Family": %[1]q, "Table": "nat", "Chain": "PREROUTING", "Position": 1, "Handle": 8}, "Expressions": [%[2]s,
				{"n": "immediate", "r": [0, 1], "h": [false, true], "d": %[3]q}, {"n": "immediate", "r": [0, 2], "h": [false, true], "d": %[4]q},
				{"n": "nat", "k": 1, "fa": %[5]d, "a": 1, "po": 2}]}]}]},
		{"Family": %[1]q, "Name": "filter", "Xtables": true, "Chains": [{"Name": "DROPS", "Base": true, "Type": "filter", "Hook": %[6]q, "Policy": 1, "Rules": [
			{"Ref": {"Backend": "iptables-nft", "Family": %[1]q, "Table": "filter", "Chain": "DROPS", "Position": 1, "Handle": 7}, "Expressions": [%[7]s,
				{"n": "immediate", "h": [false, true], "v": {"Code": 0}}]}]}]}]}`,
		family, port(5353), base64of(bytes), number(53), nf, hook, port(dropped)), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A datagram in pieces is put together before any rule sees it: all of it ends where its
// ports lead it, in whatever order they come.
func TestDatagramInPiecesIsDroppedAsAWhole(t *testing.T) {
	sizes := map[string]int{"whole": 30, "two pieces": 2000, "three pieces": 3000}
	for name, size := range sizes {
		for _, last := range []bool{false, true} { // the first piece comes last
			for _, c := range []struct {
				name string
				hook netfilter.Hook
				port uint16
				six  bool
				want string
			}{
				{"published", netfilter.Forward, 53, false,
					"dropped at forward by DROPS #1 [evaluated]: dnat[%d -1] udp 198.51.100.7:4000 > 192.0.2.10:5353 => udp 198.51.100.7:4000 > 172.17.0.2:53 [evaluated 0]"},
				{"published, IPv6", netfilter.Forward, 53, true,
					"dropped at forward by DROPS #1 [evaluated]: dnat[%d -1] udp [2001:db8::1]:4000 > [2001:db8::10]:5353 => udp [2001:db8::1]:4000 > [fd00:1::2]:53 [evaluated 0]"},
				{"for the host", netfilter.Input, 4444, false, "dropped at input by DROPS #1 [evaluated]: "},
			} {
				s, w := newStage6(t), world()
				host := w.Namespace(hostNS)
				host.Links[1].Addresses = append(host.Links[1].Addresses, netip.PrefixFrom(hostIP6, 64))
				host.Routes = []netinfo.Route{{Destination: netip.MustParsePrefix("172.17.0.0/16"), Link: bridge}, {Destination: netip.MustParsePrefix("fd00:1::/64"), Link: bridge}}
				s.c.SetTopology(w.Seal())
				words, to := numbered(size), uint16(5353)
				if c.hook == netfilter.Input {
					to = c.port
				}
				pieces := cut(udp(t, port(internetIP, 4000), port(hostIP, to), 77, words), 1480)
				tracked := netfilter.Flow{ID: 1, Original: echoTuple(hostIP, internetIP, 1, false), Reply: echoTuple(internetIP, hostIP, 1, true)}
				rules := publishes(t, backIP, c.hook, c.port)
				if c.six {
					pieces = [][]byte{udp6(t, port(internetIP6, 4000), port(hostIP6, to), words)}
					if size > 1448 {
						pieces = cut6(pieces[0], 77, 1448)
					}
					tracked.Original = udpTuple(port(hostIP6, 1), port(internetIP6, 1))
					tracked.Reply = tracked.Original.Inverse()
					rules = publishes(t, backIP6, c.hook, c.port)
				}
				s.flow(netfilter.New, tracked)
				s.c.SetRuleset(rules)
				if last {
					slices.Reverse(pieces)
				}
				for _, f := range pieces {
					s.see(uplinkIn, f)
				}
				s.pass(50 * time.Millisecond)
				s.pass(4 * time.Second)
				if len(s.journeys) != 1 {
					t.Fatalf("%s, %s: %d journeys: %s", c.name, name, len(s.journeys), s.verdicts())
				}
				want := c.want
				if strings.Contains(want, "%d") {
					want = fmt.Sprintf(want, len(pieces)-1)
				}
				if got := s.ended() + ": " + changes(s.journeys[0]); got != want {
					t.Errorf("%s, %s, the first last %v:\n got %s\nwant %s", c.name, name, last, got, want)
				}
				if got := s.journeys[0].To.Port; got != to && got != 53 {
					t.Errorf("%s, %s: to port %d", c.name, name, got)
				}
			}
		}
	}
}

// Where nothing is tracked each piece meets the rules by itself.
func TestPiecesWhereNothingIsTracked(t *testing.T) {
	s := newStage(t)
	s.c.SetRuleset(publishes(t, backIP, netfilter.Forward, 443))
	for _, f := range cut(udp(t, port(backIP, 4000), port(internetIP, 443), 77, numbered(3000)), 1480) {
		s.see(backOut, f)
		s.see(vethIn, f)
	}
	s.pass(50 * time.Millisecond)
	s.pass(4 * time.Second)
	if len(s.journeys) != 1 || strings.Contains(s.ended(), "DROPS") {
		t.Errorf("%s", s.ended())
	}
}

// A flow begins when all pieces of its first packet have come, and may be told of when the
// first of them was judged.
func TestEntryOfADatagramInPieces(t *testing.T) {
	for _, between := range []time.Duration{0, time.Microsecond} {
		s := newDropStage(t)
		echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1}
		for _, f := range cut(frame(t, internetIP, hostIP, 4711, 64, echo, gopacket.Payload(numbered(3000))), 1480) {
			s.see(uplinkIn, f)
			s.pass(between)
		}
		o := echoTuple(internetIP, hostIP, 7, false)
		s.flow(netfilter.New, netfilter.Flow{ID: 5, Original: o, Reply: o.Inverse()})
		s.pass(4 * time.Second)
		s.wantEnds("delivered by conntrack")
	}
}
