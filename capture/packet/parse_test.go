package packet

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fromHex reads annotated bytes: everything after a # is a remark.
func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for field := range strings.FieldsSeq(line) {
			digits.WriteString(field)
		}
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

const (
	ethIPv4 = "02420a000002 02420a000001 0800 # to, from, IPv4\n"
	ethIPv6 = "02420a000002 02420a000001 86dd # to, from, IPv6\n"
)

var ethernetMACs = Headers{
	SourceMAC:      [6]byte{0x02, 0x42, 0x0a, 0, 0, 1},
	DestinationMAC: [6]byte{0x02, 0x42, 0x0a, 0, 0, 2},
}

// onEthernet returns h with the addresses of the link headers in this file.
func onEthernet(h Headers, etherType uint16) Headers {
	h.Layers |= LayerEthernet
	h.EtherType = etherType
	h.SourceMAC, h.DestinationMAC = ethernetMACs.SourceMAC, ethernetMACs.DestinationMAC
	return h
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		link  LinkType
		bytes string
		wire  uint32 // 0: all of it was captured
		want  Headers
	}{
		{
			name: "echo request with padding of the link",
			bytes: ethIPv4 + `
				45 b8 0020 1234 4000  # version, TOS, 32 bytes, ID, DF
				3f 01 0000            # TTL 63, ICMP
				ac110002 c6336407     # 172.17.0.2 to 198.51.100.7
				08 00 0000 002a 0007  # echo request, id 42, seq 7
				61626364              # payload
				000000000000 00000000 # padding`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerICMP,
				Tuple:  NewTuple(ICMP, addr("172.17.0.2"), addr("198.51.100.7"), 42, 0x0800),
				Length: 32, IPID: 0x1234, TOS: 0xb8, TTL: 63, DF: true,
				ICMPType: 8, ICMPID: 42, ICMPSeq: 7,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 4,
			}, 0x0800),
		},
		{
			name: "two tags, IPv4 options, SYN with options",
			bytes: `
				02420a000002 02420a000001
				88a8 a064             # provider's tag: priority 5, id 100
				8100 0005             # customer's tag: id 5
				0800
				46 00 0030 0001 0000  # 24 byte header, 48 bytes
				40 06 0000 0a000001 0a000002
				94040000              # router alert
				1267 0050             # 4711 to 80
				00000001 00000000
				60 02 faf0 0000 0000  # 24 bytes, SYN, window 64240
				020405b4              # MSS 1460`,
			want: onEthernet(Headers{
				Layers: LayerVLAN | LayerIPv4 | LayerTCP,
				VLAN:   100,
				Tuple:  NewTuple(TCP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 80),
				Length: 48, IPID: 1, TTL: 64,
				TCPSeq: 1, TCPFlags: SYN, TCPWindow: 64240,
				NetworkOffset: 22, TransportOffset: 46, PayloadOffset: 70,
			}, 0x0800),
		},
		{
			name: "later fragment has no ports",
			bytes: ethIPv4 + `
				45 00 001c 0bad 20b9  # ID, more fragments, offset 185 x 8
				40 11 0000 0a000001 0a000002
				12671267 00080000     # looks like a UDP header and is not`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerFragment,
				Tuple:  NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0),
				Length: 28, IPID: 0xbad, TTL: 64,
				FragmentID: 0xbad, FragmentOffset: 1480, MoreFragments: true,
				NetworkOffset: 14, PayloadOffset: 34, PayloadLength: 8,
			}, 0x0800),
		},
		{
			name: "first fragment has ports, and a UDP length beyond it",
			bytes: ethIPv4 + `
				45 00 0020 0bad 2000
				40 11 0000 0a000001 0a000002
				1267 0035 0bb8 0000   # 3000 bytes in all
				61626364`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerFragment | LayerUDP,
				Tuple:  NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 53),
				Length: 32, IPID: 0xbad, TTL: 64, FragmentID: 0xbad, MoreFragments: true,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 4,
			}, 0x0800),
		},
		{
			name: "port unreachable quotes a datagram",
			bytes: ethIPv4 + `
				45 c0 0038 0001 0000 40 01 0000 0a000002 0a000001
				03 03 0000 00000000   # port unreachable
				45 00 0099 0002 4000 40 11 0000 0a000001 0a000002
				1267 0035 0085 0000`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerICMP | LayerQuoted,
				Tuple:  NewTuple(ICMP, addr("10.0.0.2"), addr("10.0.0.1"), 0, 0x0303),
				Quoted: NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 53), QuotedID: 2,
				Length: 56, IPID: 1, TOS: 0xc0, TTL: 64,
				ICMPType: 3, ICMPCode: 3,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 28,
			}, 0x0800),
		},
		{
			name: "BIG TCP: total length 0, cut off",
			bytes: ethIPv4 + `
				45 00 0000 0001 4000 40 06 0000 0a000001 0a000002
				1267 0050 00000001 00000002 50 10 0100 0000 0000`,
			wire: 100000,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerTCP,
				Tuple:  NewTuple(TCP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 80),
				Length: 100000 - 14, IPID: 1, TTL: 64, DF: true,
				TCPSeq: 1, TCPAck: 2, TCPFlags: ACK, TCPWindow: 256,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 54, PayloadLength: 100000 - 54,
			}, 0x0800),
		},
		{
			name: "IPv6, hop-by-hop, destination options, AH, ICMPv6 echo",
			bytes: ethIPv6 + `
				6 12 34567            # version, traffic class, flow label
				0030 00 3f            # 48 bytes behind, hop-by-hop, hop limit 63
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				3c 00 0502 0000 0100  # router alert, next: destination options
				33 01 010c 000000000000000000000000  # 16 bytes of padding, next: AH
				3a 02 0000 00000001 00000001 00000000 # 16 bytes, next: ICMPv6
				80 00 0000 0001 0002`,
			want: onEthernet(Headers{
				Layers: LayerIPv6 | LayerICMP,
				Tuple:  NewTuple(ICMPv6, addr("fd00::2"), addr("fd00::7"), 1, 0x8000),
				Length: 88, TOS: 0x12, TTL: 63,
				ICMPType: 128, ICMPID: 1, ICMPSeq: 2,
				NetworkOffset: 14, TransportOffset: 94, PayloadOffset: 102,
			}, 0x86dd),
		},
		{
			name: "IPv6 later fragment",
			link: RawIP,
			bytes: `60000000 0010 2c 40
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				11 00 05a8 cafe0001   # UDP, offset 1448, last
				1267003500080000`,
			want: Headers{
				Layers: LayerIPv6 | LayerFragment,
				Tuple:  NewTuple(UDP, addr("fd00::2"), addr("fd00::7"), 0, 0),
				Length: 56, TTL: 64, FragmentID: 0xcafe0001, FragmentOffset: 1448,
				PayloadOffset: 48, PayloadLength: 8,
			},
		},
		{
			name: "IPv6 atomic fragment is whole",
			link: RawIP,
			bytes: `60000000 0010 2c 40
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				11 00 0000 cafe0001
				1267003500080000`,
			want: Headers{
				Layers: LayerIPv6 | LayerUDP,
				Tuple:  NewTuple(UDP, addr("fd00::2"), addr("fd00::7"), 4711, 53),
				Length: 56, TTL: 64,
				TransportOffset: 48, PayloadOffset: 56,
			},
		},
		{
			name: "IPv6 later fragment of an extension header",
			link: RawIP,
			bytes: `60000000 0010 2c 40
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				3c 00 05a9 cafe0001   # destination options, offset 1448, more
				3a00050201000000      # looks like them and is not`,
			want: Headers{
				Layers: LayerIPv6 | LayerFragment,
				Tuple:  NewTuple(60, addr("fd00::2"), addr("fd00::7"), 0, 0),
				Length: 56, TTL: 64, FragmentID: 0xcafe0001, FragmentOffset: 1448, MoreFragments: true,
				PayloadOffset: 48, PayloadLength: 8,
			},
		},
		{
			name: "IPv6 longer than its length field can say",
			link: RawIP,
			bytes: `60000000 0000 06 40
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				1267 0050 00000001 00000002 50 10 0100 0000 0000`,
			wire: 150000,
			want: Headers{
				Layers: LayerIPv6 | LayerTCP,
				Tuple:  NewTuple(TCP, addr("fd00::2"), addr("fd00::7"), 4711, 80),
				Length: 150000, TTL: 64,
				TCPSeq: 1, TCPAck: 2, TCPFlags: ACK, TCPWindow: 256,
				TransportOffset: 40, PayloadOffset: 60, PayloadLength: 150000 - 60,
			},
		},
		{
			name: "time exceeded quotes a later fragment",
			bytes: ethIPv4 + `
				45 c0 0038 0001 0000 40 01 0000 0a000002 0a000001
				0b 01 0000 00000000
				45 00 0099 0002 0010 40 11 0000 0a000001 0a000002
				1267 0035 0085 0000   # payload`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerICMP | LayerQuoted,
				Tuple:  NewTuple(ICMP, addr("10.0.0.2"), addr("10.0.0.1"), 0, 0x0b01),
				Quoted: NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0), QuotedID: 2,
				Length: 56, IPID: 1, TOS: 0xc0, TTL: 64,
				ICMPType: 11, ICMPCode: 1,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 28,
			}, 0x0800),
		},
		{
			name: "IPv6 time exceeded quotes a later fragment",
			link: RawIP,
			bytes: `60000000 0040 3a 40
				fd000000000000000000000000000007
				fd000000000000000000000000000002
				03 01 0000 00000000
				60000000 0010 2c 40
				fd000000000000000000000000000002
				fd000000000000000000000000000007
				11 00 05a8 cafe0001
				1267003500080000      # payload`,
			want: Headers{
				Layers: LayerIPv6 | LayerICMP | LayerQuoted,
				Tuple:  NewTuple(ICMPv6, addr("fd00::7"), addr("fd00::2"), 0, 0x0301),
				Quoted: NewTuple(UDP, addr("fd00::2"), addr("fd00::7"), 0, 0),
				Length: 104, TTL: 64, ICMPType: 3, ICMPCode: 1,
				TransportOffset: 40, PayloadOffset: 48, PayloadLength: 56,
			},
		},
		{
			name: "an error that quotes nothing",
			bytes: ethIPv4 + `
				45 c0 001c 0001 0000 40 01 0000 0a000002 0a000001
				03 03 0000 00000000`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerICMP | Malformed,
				Tuple:  NewTuple(ICMP, addr("10.0.0.2"), addr("10.0.0.1"), 0, 0x0303),
				Length: 28, IPID: 1, TOS: 0xc0, TTL: 64, ICMPType: 3, ICMPCode: 3,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42,
			}, 0x0800),
		},
		{
			name: "IP says more than was on the wire",
			bytes: ethIPv4 + `
				45 00 0064 0001 4000 40 11 0000 0a000001 0a000002
				1267 0035 0050 0000`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerUDP | Malformed,
				Tuple:  NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 53),
				Length: 100, IPID: 1, TTL: 64, DF: true,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 72,
			}, 0x0800),
		},
		{
			name: "TCP with less than a header",
			bytes: ethIPv4 + `
				45 00 0028 0001 4000 40 06 0000 0a000001 0a000002
				1267 0050 00000001 00000002 40 10 0100 0000 0000`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerTCP | Malformed,
				Tuple:  NewTuple(TCP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 80),
				Length: 40, IPID: 1, TTL: 64, DF: true,
				TCPSeq: 1, TCPAck: 2, TCPFlags: ACK, TCPWindow: 256,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 54,
			}, 0x0800),
		},
		{
			name: "TCP options beyond the packet",
			bytes: ethIPv4 + `
				45 00 0028 0001 4000 40 06 0000 0a000001 0a000002
				1267 0050 00000001 00000002 f0 10 0100 0000 0000
				000000000000          # padding, not options`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | LayerTCP | Malformed,
				Tuple:  NewTuple(TCP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 80),
				Length: 40, IPID: 1, TTL: 64, DF: true,
				TCPSeq: 1, TCPAck: 2, TCPFlags: ACK, TCPWindow: 256,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 54,
			}, 0x0800),
		},
		{
			name: "ARP request",
			bytes: `ffffffffffff 02420a000001 0806
				0001 0800 06 04 0001
				02420a000001 ac110001 000000000000 ac110002
				000000000000000000000000000000000000 # padding`,
			want: Headers{
				Layers: LayerEthernet | LayerARP, EtherType: 0x0806,
				SourceMAC:      ethernetMACs.SourceMAC,
				DestinationMAC: [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
				Tuple:          NewTuple(0, addr("172.17.0.1"), addr("172.17.0.2"), 0, 0),
				ARPOperation:   1, NetworkOffset: 14, PayloadOffset: 42,
			},
		},
		{
			name: "SLL",
			link: SLL,
			bytes: `0004 0001 0006 02420a0000010000 0800
				45 00 001c 0001 0000 40 11 0000 0a000001 0a000002
				1267 0035 0008 0000`,
			want: Headers{
				Layers: LayerIPv4 | LayerUDP, EtherType: 0x0800,
				Tuple:  NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 4711, 53),
				Length: 28, IPID: 1, TTL: 64,
				NetworkOffset: 16, TransportOffset: 36, PayloadOffset: 44,
			},
		},
		{
			name: "SLL2",
			link: SLL2,
			bytes: `0800 0000 00000007 0001 00 06 02420a0000010000
				45 00 001c 0001 0000 40 84 0000 0a000001 0a000002
				1267 0035 00000000`,
			want: Headers{
				Layers: LayerIPv4 | Malformed, EtherType: 0x0800,
				Tuple:  NewTuple(SCTP, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0),
				Length: 28, IPID: 1, TTL: 64,
				NetworkOffset: 20, TransportOffset: 40, PayloadOffset: 40, PayloadLength: 8,
			},
		},
		{
			name: "loopback of macOS",
			link: Loopback,
			bytes: `1e000000 60000000 0000 3b 40
				00000000000000000000000000000001
				00000000000000000000000000000001`,
			want: Headers{
				Layers: LayerIPv6,
				Tuple:  NewTuple(59, addr("::1"), addr("::1"), 0, 0),
				Length: 40, TTL: 64,
				NetworkOffset: 4, TransportOffset: 44, PayloadOffset: 44,
			},
		},
		{
			name: "TCP cut off by the capture",
			bytes: ethIPv4 + `
				45 00 0028 0001 4000 40 06 0000 0a000001 0a000002
				1267 0050 00000001`,
			wire: 54,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | Truncated,
				Tuple:  NewTuple(TCP, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0),
				Length: 40, IPID: 1, TTL: 64, DF: true,
				NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 34, PayloadLength: 20,
			}, 0x0800),
		},
		{
			name: "IP says less than its own header",
			bytes: ethIPv4 + `
				45 00 0013 0001 4000 40 11 0000 0a000001 0a000002
				1267 0035 0008 0000`,
			want: onEthernet(Headers{
				Layers: LayerIPv4 | Malformed,
				Tuple:  NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0),
				Length: 19, IPID: 1, TTL: 64, DF: true,
				NetworkOffset: 14, PayloadOffset: 33,
			}, 0x0800),
		},
		{
			name:  "header length under 20",
			bytes: ethIPv4 + `44 00 0014 0001 4000 40 11 0000 0a000001 0a000002`,
			want: onEthernet(Headers{
				Layers: Malformed, PayloadOffset: 14, PayloadLength: 20,
			}, 0x0800),
		},
		{
			name:  "nothing",
			bytes: "",
			want:  Headers{Layers: Malformed},
		},
		{
			name:  "tag without an end",
			bytes: "02420a000002 02420a000001 8100 00",
			wire:  60,
			want: onEthernet(Headers{
				Layers: Truncated, PayloadOffset: 14, PayloadLength: 46,
			}, 0x8100),
		},
		{
			name:  "IEEE 802.3 length instead of a type",
			bytes: "02420a000002 02420a000001 0026 4242030000",
			want:  onEthernet(Headers{PayloadOffset: 14, PayloadLength: 5}, 0x26),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := fromHex(t, tt.bytes)
			wire := tt.wire
			if wire == 0 {
				wire = uint32(len(data))
			}
			h := Headers{Layers: LayerTCP, TCPAck: 99} // must be forgotten
			h.Parse(tt.link, data, wire)
			if diff := cmp.Diff(tt.want, h, cmp.AllowUnexported(Tuple{})); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseEndlessExtensions sends a chain of more extension headers than any
// real packet has.
func TestParseEndlessExtensions(t *testing.T) {
	data := fromHex(t, `60000000 0000 00 40
		fd000000000000000000000000000002 fd000000000000000000000000000007`)
	for range maxExtensions + 1 {
		data = append(data, nextDestination, 0, 1, 4, 0, 0, 0, 0)
	}
	data[5] = byte(len(data) - ipv6Header)
	var h Headers
	h.Parse(RawIP, data, uint32(len(data)))
	if want := LayerIPv6 | Malformed; h.Layers != want {
		t.Errorf("layers %b, want %b", h.Layers, want)
	}
	if h.TransportOffset != 0 {
		t.Errorf("transport at %d, want none", h.TransportOffset)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	for _, p := range samples(t) {
		var h Headers
		if n := testing.AllocsPerRun(100, func() {
			h.Parse(Ethernet, p.data, uint32(len(p.data)))
		}); n != 0 {
			t.Errorf("%s: Parse allocates %v times", p.name, n)
		}
		if n := testing.AllocsPerRun(100, func() { sink = Fingerprint(&h, p.data) }); n != 0 {
			t.Errorf("%s: Fingerprint allocates %v times", p.name, n)
		}
	}
}

// sink keeps results alive.
var sink uint64
