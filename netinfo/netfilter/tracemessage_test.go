package netfilter

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"natlens/capture/packet"
)

// traceMessages are what Linux 6.18 told of one echo request on its way from
// 10.9.0.2 to 192.0.2.1.
var traceMessages = map[string]string{
	"the first rule of a base chain": `
	02 00 00 00                         # nfgenmsg: AF_INET, the table's family
	0800 0f00 00000002                  # NFTA_TRACE_NFPROTO
	0800 0400 00000003                  # NFTA_TRACE_TYPE: rule
	0800 0600 077f1b8e                  # NFTA_TRACE_ID
	0c00 0200 464f525741524400          # NFTA_TRACE_CHAIN: FORWARD
	0b00 0100 66696c74657200 00         # NFTA_TRACE_TABLE: filter
	0c00 0300 0000000000000003          # NFTA_TRACE_RULE_HANDLE
	1800 0500                           # NFTA_TRACE_VERDICT
	  0800 0100 fffffffd                #   NFTA_VERDICT_CODE: jump
	  0900 0200 5553455200 000000       #   NFTA_VERDICT_CHAIN: USER
	0800 0a00 00000003                  # NFTA_TRACE_IIF
	0600 0b00 0001 0000                 # NFTA_TRACE_IIFTYPE
	0800 0c00 00000002                  # NFTA_TRACE_OIF
	0600 0d00 0001 0000                 # NFTA_TRACE_OIFTYPE
	1800 0800                           # NFTA_TRACE_NETWORK_HEADER
	  45000054 8fa94000 3f01dff3 0a090002 c0000201
	1800 0900                           # NFTA_TRACE_TRANSPORT_HEADER
	  0800 62d9 2447 0002               #   echo request, id, sequence
	  70ac046b 00000000 3bf30100
	1200 0700 060c02ae5301525816a1386a0800 0000 # NFTA_TRACE_LL_HEADER
	0800 1500 00000002                  # NFTA_TRACE_CT_STATE
	0500 1300 00 000000                 # NFTA_TRACE_CT_DIRECTION
	0800 1200 f6528a04                  # NFTA_TRACE_CT_ID
	0800 1400 0000019a                  # NFTA_TRACE_CT_STATUS
	`,
	"a later rule": `
	02 00 00 00
	0800 0400 00000003
	0800 0600 077f1b8e
	0900 0200 5553455200 000000         # USER
	0b00 0100 66696c74657200 00
	0c00 0300 0000000000000004
	0c00 0500 0800 0100 00000000        # drop
	0800 0e00 00002000                  # NFTA_TRACE_MARK
	`,
	"the end of a chain": `
	02 00 00 00
	0800 0400 00000003                  # rule, and no handle: since Linux 6.4
	0800 0600 077f1b8e
	0900 0200 5553455200 000000
	0b00 0100 66696c74657200 00
	0c00 0500 0800 0100 ffffffff        # continue
	`,
	"a policy": `
	0a 00 00 00                         # AF_INET6
	0800 0400 00000001                  # policy
	0800 0600 077f1b8e
	0c00 0200 464f525741524400
	0b00 0100 66696c74657200 00
	0800 1000 00000000                  # NFTA_TRACE_POLICY: drop
	`,
	"IPv6 extension headers don't fit": `
	01 00 00 00                         # inet
	0800 0f00 0000000a
	0800 0400 00000003
	0800 0600 12c2e07f
	0800 0200 70726500                  # pre
	0600 0100 7400 0000                 # t
	0c00 0300 0000000000000002
	0c00 0500 0800 0100 ffffffff
	0800 0a00 00000002
	2c00 0800                           # 40 of 48 bytes
	  60000000 0038 00 01               #   next header: hop-by-hop options
	  00000000000000000000000000000000
	  ff020000000000000000000000000016
	1800 0900 8f003463 00000002 04000000 ff020000 00000000
	`,
}

var traceHits = map[string]Hit{
	"the first rule of a base chain": {
		Trace: 0x077f1b8e, Kind: RuleHit, Family: "ip", Table: "filter", Chain: "FORWARD", Handle: 3, Verdict: Jump, Target: "USER",
		Packet: &TracedPacket{In: 3, Out: 2, Tracked: true, FlowID: 0xf6528a04, Status: Confirmed | SeenReply | SrcNAT | SrcNATDone | DstNATDone},
	},
	"a later rule":       {Trace: 0x077f1b8e, Kind: RuleHit, Family: "ip", Table: "filter", Chain: "USER", Handle: 4, Verdict: Drop, Mark: 0x2000},
	"the end of a chain": {Trace: 0x077f1b8e, Kind: ReturnHit, Family: "ip", Table: "filter", Chain: "USER", Verdict: Continue},
	"a policy":           {Trace: 0x077f1b8e, Kind: PolicyHit, Family: "ip6", Table: "filter", Chain: "FORWARD", Verdict: Drop},
	"IPv6 extension headers don't fit": {
		Trace: 0x12c2e07f, Kind: RuleHit, Family: "inet", Table: "t", Chain: "pre", Handle: 2, Verdict: Continue, Packet: &TracedPacket{In: 2},
	},
}

// TestDecodeTrace holds what is decoded against the bytes' own comments.
func TestDecodeTrace(t *testing.T) {
	for name, message := range traceMessages {
		t.Run(name, func(t *testing.T) {
			b := bytesOf(t, message)
			var got Hit
			if !decodeTrace(b, names{}, &got) {
				t.Fatal("not decoded")
			}
			want := traceHits[name]
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(TracedPacket{}, "Headers", "Data")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			whole := map[int]bool{} // lengths at which an attribute ends, its padding or not
			for i := 4; i < len(b); i = (i + 3) &^ 3 {
				i += int(binary.NativeEndian.Uint16(b[i:]))
				whole[i], whole[i+1], whole[i+2], whole[i+3] = true, i%4 != 0, i%4 != 0, i%4 != 0
			}
			for i := range b {
				if decodeTrace(b[:i], names{}, new(Hit)) && !whole[i] {
					t.Errorf("decoded though it was cut at byte %d", i)
				}
			}
		})
	}
}

func TestTracedHeaders(t *testing.T) {
	var h Hit
	if !decodeTrace(bytesOf(t, traceMessages["the first rule of a base chain"]), names{}, &h) {
		t.Fatal("not decoded")
	}
	got := h.Packet.Headers
	source, destination := netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("192.0.2.1")
	if got.Tuple.Source() != source || got.Tuple.Destination() != destination || got.Tuple.Protocol != packet.ICMP {
		t.Errorf("tuple %v", got.Tuple)
	}
	if got.IPID != 0x8fa9 || got.Length != 84 || got.TTL != 63 || got.ICMPType != 8 || got.ICMPID != 0x2447 || got.ICMPSeq != 2 {
		t.Errorf("headers %+v", got)
	}
	// Behind a header that was cut nothing is read: it would be read wrongly.
	h = Hit{}
	if !decodeTrace(bytesOf(t, traceMessages["IPv6 extension headers don't fit"]), names{}, &h) {
		t.Fatal("not decoded")
	}
	if got := h.Packet.Headers; got.Tuple.Destination() != netip.MustParseAddr("ff02::16") || got.Length != 96 || got.Layers&packet.LayerICMP != 0 {
		t.Errorf("headers %+v", got)
	}
}

func TestDecodeTraceMalformed(t *testing.T) {
	for name, message := range map[string]string{
		"no nfgenmsg":       `02 00 00`,
		"no type":           `02000000 0600 0100 7400 0000 0600 0200 6300 0000`,
		"an unknown type":   `02000000 0800 0400 00000009 0600 0100 7400 0000 0600 0200 6300 0000`,
		"no chain":          `02000000 0800 0400 00000003 0600 0100 7400 0000`,
		"a long header":     `02000000 0800 0400 00000003 0600 0100 7400 0000 0600 0200 6300 0000 1c00 0900 000000000000000000000000000000000000000000000000`,
		"a short handle":    `02000000 0800 0400 00000003 0600 0100 7400 0000 0600 0200 6300 0000 0800 0300 00000001`,
		"an open attribute": `02000000 0800 0400 00000003 0600 0100 7400 0000 0600 0200 6300 0000 0900 0600 00000001`,
	} {
		if decodeTrace(bytesOf(t, message), names{}, new(Hit)) {
			t.Errorf("%s: decoded", name)
		}
	}
}

// TestNamesAreBounded: who writes rules must not fill the memory.
func TestNamesAreBounded(t *testing.T) {
	n := names{}
	for i := range 3 * maxNames {
		b := []byte{byte(i), byte(i >> 8), 'x', 0, 'y'}
		if i%256 == 0 {
			b[0] = 'z'
		}
		n.of(b)
	}
	if len(n) > maxNames {
		t.Errorf("%d names kept", len(n))
	}
	if got := n.of([]byte("filter\x00rest")); got != "filter" {
		t.Errorf("%q", got)
	}
}

func FuzzDecodeTrace(f *testing.F) {
	for _, message := range traceMessages {
		f.Add(bytesOf(f, message))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hit
		if decodeTrace(b, names{}, &h) && (h.Kind == "" || h.Table == "" || h.Chain == "") {
			t.Errorf("decoded without a name: %+v", h)
		}
	})
}
