package netfilter

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"natlens/capture/packet"
)

// bytesOf reads hexadecimal with spaces and comments behind a #.
func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pingMessage is a masqueraded echo request with a changed id, as a little
// endian kernel writes it.
const pingMessage = `
	02 00 00 00                         # nfgenmsg: AF_INET, version 0
	3400 0180                           # CTA_TUPLE_ORIG, nested
	  1400 0180                         #   CTA_TUPLE_IP
	    0800 0100 0a090002              #     10.9.0.2
	    0800 0200 c0000201              #     192.0.2.1
	  1c00 0280                         #   CTA_TUPLE_PROTO
	    0500 0100 01 000000             #     icmp
	    0600 0400 1234 0000             #     id
	    0500 0500 08 000000             #     type: echo request
	3c00 0280                           # CTA_TUPLE_REPLY
	  1400 0180
	    0800 0100 c0000201
	    0800 0200 c000020a              #     192.0.2.10
	  2400 0280
	    0500 0100 01 000000
	    0600 0400 4321 0000             #     another id
	    0500 0500 00 000000             #     type: echo reply
	    0500 0600 00 000000             #     code
	0800 0300 00000198                  # CTA_STATUS: confirmed, snat, both done
	0800 0700 0000001e                  # CTA_TIMEOUT
	0800 0800 00002000                  # CTA_MARK
	1c00 0980                           # CTA_COUNTERS_ORIG
	  0c00 0100 0000000000000003
	  0c00 0200 00000000000000fc
	0800 0c00 b5a5a5a1                  # CTA_ID
	0600 1200 0007 0000                 # CTA_ZONE
	1c00 1480                           # CTA_TIMESTAMP
	  0c00 0100 17f0000000000001        #   start
	  0c00 0200 17f0000000000002        #   stop
	0800 6300 00000000                  # an attribute of the future
	0c00 1b00 17f0000000000003          # CTA_TIMESTAMP_EVENT
`

func TestDecodeFlow(t *testing.T) {
	inside, outside, uplink := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.10")
	want := Flow{
		ID: 0xb5a5a5a1, Zone: 7, ReplyZone: 7, Status: Confirmed | SrcNAT | SrcNATDone | DstNATDone, Mark: 0x2000, Timeout: 30,
		Original: packet.NewTuple(packet.ICMP, inside, outside, 0x1234, 8<<8),
		Reply:    packet.NewTuple(packet.ICMP, outside, uplink, 0x4321, 0),
		Start:    0x17f0000000000001,
		Packets:  [2]uint64{3, 0}, Bytes: [2]uint64{252, 0},
	}
	b := bytesOf(t, pingMessage)
	var f Flow
	times, ok := decodeFlow(b, &f)
	if !ok {
		t.Fatal("malformed")
	}
	if diff := cmp.Diff(want, f, cmpopts.EquateComparable(packet.Tuple{})); diff != "" {
		t.Errorf("flow (-want +got):\n%s", diff)
	}
	if times.event != 0x17f0000000000003 || times.of(Destroy) != times.event {
		t.Errorf("times %+v", times)
	}
	if times.event = 0; times.of(Destroy) != 0x17f0000000000002 || times.of(Update) != 0 {
		t.Errorf("without CTA_TIMESTAMP_EVENT: %d, %d", times.of(Destroy), times.of(Update))
	}
}

// A zone of one direction stands in its tuple (ctnetlink_dump_zone_id), one of both
// beside them.
func TestDecodeFlowOfZones(t *testing.T) {
	without := strings.Replace(pingMessage, "0600 1200 0007 0000                 # CTA_ZONE\n", "", 1)
	original := strings.NewReplacer("3400 0180", "3c00 0180", "3c00 0280  ", "0600 0300 0005 0000 # CTA_TUPLE_ZONE\n3c00 0280").Replace(without)
	reply := strings.NewReplacer("3c00 0280", "4400 0280", "0800 0300 00000198", "0600 0300 0006 0000 # CTA_TUPLE_ZONE\n0800 0300 00000198").Replace(without)
	for _, c := range []struct {
		message string
		want    Zones
	}{{pingMessage, Zones{7, 7}}, {without, Zones{}}, {original, Zones{5, 0}}, {reply, Zones{0, 6}}} {
		var f Flow
		if _, ok := decodeFlow(bytesOf(t, c.message), &f); !ok || f.Zones() != c.want {
			t.Errorf("%v, %v, want %v of\n%s", f.Zones(), ok, c.want, c.message)
		}
	}
}

func TestDecodeFlowRefusesWhatIsCutShort(t *testing.T) {
	b := bytesOf(t, pingMessage)
	// Where an attribute ends, with or without its padding, the bytes are a
	// message of fewer attributes; whole, once both tuples are there.
	whole := map[int]bool{}
	a := attributes(b[nfgenMessageLength:])
	for i := 1; len(a) > 0; i++ {
		start := len(b) - len(a)
		_, data, _ := a.next()
		for end := start + 4 + len(data); i >= 2 && end <= len(b)-len(a); end++ {
			whole[end] = true
		}
	}
	for n := range b {
		if _, ok := decodeFlow(b[:n], &Flow{}); ok != whole[n] {
			t.Errorf("first %d bytes: ok %v, want %v", n, ok, whole[n])
		}
	}
}

func TestDecodeFlowDoesNotAllocate(t *testing.T) {
	b := bytesOf(t, pingMessage)
	var f Flow
	if n := testing.AllocsPerRun(100, func() { decodeFlow(b, &f) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzFlowMessage(f *testing.F) {
	b := bytesOf(f, pingMessage)
	f.Add(b)
	f.Add(b[:60])
	f.Add([]byte{2, 0, 0, 0, 4, 0, 1, 0x80, 3, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var flow Flow
		if _, ok := decodeFlow(b, &flow); ok && (!flow.Original.Valid() || !flow.Reply.Valid()) {
			t.Errorf("a flow without a tuple: %+v", flow)
		}
		for rest := b; len(rest) > 0; {
			var ok bool
			if _, rest, ok = nextMessage(rest); !ok {
				break
			}
		}
	})
}

func BenchmarkDecodeFlow(b *testing.B) {
	message := bytesOf(b, pingMessage)
	b.ReportAllocs()
	for b.Loop() {
		var f Flow
		if _, ok := decodeFlow(message, &f); !ok {
			b.Fatal("malformed")
		}
	}
}
