package packet

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func BenchmarkParse(b *testing.B) {
	for _, p := range samples(b) {
		b.Run(p.name, func(b *testing.B) {
			var h Headers
			for b.Loop() {
				h.Parse(Ethernet, p.data, uint32(len(p.data)))
			}
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	for _, p := range samples(b) {
		b.Run(p.name, func(b *testing.B) {
			var h Headers
			h.Parse(Ethernet, p.data, uint32(len(p.data)))
			for b.Loop() {
				sink = Fingerprint(&h, p.data)
			}
		})
	}
}

// BenchmarkDecodingLayerParser is gopacket's fastest way to the same fields.
func BenchmarkDecodingLayerParser(b *testing.B) {
	var (
		eth     layers.Ethernet
		ip4     layers.IPv4
		ip6     layers.IPv6
		tcp     layers.TCP
		udp     layers.UDP
		icmp    layers.ICMPv4
		icmp6   layers.ICMPv6
		payload gopacket.Payload
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &eth, &ip4, &ip6, &tcp, &udp, &icmp, &icmp6, &payload)
	parser.IgnoreUnsupported = true
	for _, p := range samples(b) {
		b.Run(p.name, func(b *testing.B) {
			var found []gopacket.LayerType
			for b.Loop() {
				if err := parser.DecodeLayers(p.data, &found); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInfo(b *testing.B) {
	for _, p := range samples(b) {
		b.Run(p.name, func(b *testing.B) {
			for b.Loop() {
				sink = uint64(len(Info(Ethernet, p.data)))
			}
		})
	}
}
