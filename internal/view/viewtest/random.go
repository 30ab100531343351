package viewtest

import (
	"math/rand/v2"
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Random returns a journey in which any field may hold anything that its type
// allows, indexes that point nowhere included.
func Random(r *rand.Rand) *trace.Journey {
	j := &trace.Journey{
		ID: r.Uint64(), Time: r.Int64(), Protocol: packet.Protocol(r.IntN(256)),
		From: endpoint(r), To: endpoint(r),
		Direction: pick(r, trace.Original, trace.Reply, trace.NoDirection),
		Verdict: trace.Verdict{
			Result: pick(r, trace.Delivered, trace.Left, trace.Dropped, trace.Vanished, trace.Flooded, trace.Looped, trace.Unfinished),
			Hop:    r.IntN(8) - 1, Hook: hook(r), By: word(r), Reason: word(r), Evidence: evidence(r), Leak: r.IntN(4) == 0,
		},
		Data: []byte(word(r)),
	}
	if r.IntN(3) == 0 {
		j.Supersedes = r.Uint64()
	}
	if r.IntN(2) == 0 {
		j.Topology = Topology()
	}
	for i := range r.IntN(6) {
		j.Hops = append(j.Hops, trace.Hop{
			Time:      j.Time + r.Int64N(1e10) - 5e9,
			Point:     capture.Point{Namespace: hostNS + netns.ID(r.IntN(5)), Ifindex: int32(r.IntN(16)), Direction: capture.Direction(r.IntN(2))},
			Interface: word(r), Namespace: pick(r, "host", word(r)), Type: capture.PacketType(r.IntN(6)), Headers: headers(r),
			Containers: words(r), PeerContainers: words(r), From: pick(r, i-1, r.IntN(8)-1), SameStamp: r.IntN(3) == 0,
			Part: pick(r, nil, nil, &trace.Part{Index: r.IntN(3), Of: 1 + r.IntN(50), Offset: r.Uint32()}),
		})
	}
	for range r.IntN(4) {
		t := trace.Translation{
			Kind:      pick(r, trace.SNAT, trace.DNAT, trace.Redirect, trace.Masquerade, trace.Netmap, trace.Proxy),
			Namespace: word(r), Between: [2]int{r.IntN(8) - 1, r.IntN(8) - 1}, Hook: hook(r), Undo: r.IntN(2) == 0,
			Before: tuple(r), After: tuple(r), Evidence: evidence(r), ConntrackID: pick(r, 0, r.Uint32()),
		}
		if t.Kind == trace.Proxy {
			t.Between, t.PeerJourney = [2]int{-1, -1}, 1+uint64(r.Uint32())
		}
		if r.IntN(2) == 0 {
			x := rule(r)
			t.Rule = &x
		}
		j.Translations = append(j.Translations, t)
	}
	for range r.IntN(3) {
		j.Rules = append(j.Rules, rule(r))
		j.Flows = append(j.Flows, Flow(r))
		j.Notes = append(j.Notes, word(r))
		j.Related = append(j.Related, trace.Relation{
			ID:  r.Uint64(),
			Why: pick(r, "reply_to", "error_about", "retransmission_of", "duplicate_of", "proxied_as", "resolved_by"),
		})
	}
	return j
}

// Flow returns any flow.
func Flow(r *rand.Rand) netfilter.Flow {
	f := netfilter.Flow{
		Namespace: hostNS + netns.ID(r.IntN(5)), ID: r.Uint32(), Zone: uint16(r.UintN(1 << 16)), Status: netfilter.Status(r.Uint32()),
		Mark: pick(r, 0, r.Uint32()), Timeout: r.Uint32(), Original: tuple(r), Reply: tuple(r), Start: pick(r, 0, r.Int64()),
		TCPState: pick(r, "", "SYN_SENT", "ESTABLISHED"), Packets: [2]uint64{r.Uint64(), 0}, Bytes: [2]uint64{0, r.Uint64()},
	}
	f.ReplyZone = f.Zone &^ 1
	return f
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// word returns nothing, a word, many words, or bytes that are no text.
func word(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return ""
	case 1:
		return "back"
	case 2:
		b := make([]byte, r.IntN(120))
		for i := range b {
			b[i] = byte(r.UintN(256))
		}
		return string(b)
	}
	var w []rune
	for range r.IntN(60) {
		w = append(w, pick(r, 'a', 'z', ' ', '数', '→', '\u0301', '\u202e', '\x1b', '\n', '🐳'))
	}
	return string(w)
}

func words(r *rand.Rand) []string {
	var w []string
	for range r.IntN(3) {
		w = append(w, word(r))
	}
	return w
}

func hook(r *rand.Rand) netfilter.Hook {
	return pick(r, "", netfilter.Prerouting, netfilter.Input, netfilter.Forward, netfilter.Output, netfilter.Postrouting)
}

func evidence(r *rand.Rand) trace.Evidence {
	return pick(r, trace.ByTap, trace.ByConntrack, trace.ByTrace, trace.ByCounter, trace.BySocket, trace.ByReply, trace.ByRules, trace.ByHeader, trace.ByInference, trace.Ambiguous)
}

func rule(r *rand.Rand) trace.Rule {
	return trace.Rule{
		RuleRef: netfilter.RuleRef{
			Backend: pick(r, "", netfilter.NFTables, netfilter.IPTablesNFT, netfilter.IPTablesLegacy),
			Family:  pick(r, "", "ip", "ip6", "inet"), Table: word(r), Chain: word(r), Position: r.IntN(100), Handle: r.Uint64N(100), Text: word(r),
		},
		Evidence: evidence(r),
	}
}

func endpoint(r *rand.Rand) trace.Endpoint {
	return trace.Endpoint{Name: word(r), Containers: words(r), IP: pick(r, netip.Addr{}, addr(r, true), addr(r, false)), Port: pick(r, 0, uint16(r.UintN(1<<16)))}
}

func addr(r *rand.Rand, four bool) netip.Addr {
	var b [16]byte
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	if four {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0x20 // global unicast, never v4-mapped
	return netip.AddrFrom16(b)
}

func tuple(r *rand.Rand) packet.Tuple {
	if r.IntN(8) == 0 {
		return packet.Tuple{}
	}
	four := r.IntN(2) == 0
	p := pick(r, packet.TCP, packet.UDP, packet.ICMP, packet.ICMPv6, packet.Protocol(r.IntN(256)))
	t := packet.NewTuple(p, addr(r, four), addr(r, four), uint16(r.UintN(1<<16)), uint16(r.UintN(1<<16)))
	if r.IntN(3) == 0 {
		t = t.Inverse()
	}
	return t
}

func headers(r *rand.Rand) packet.Headers {
	h := packet.Headers{
		Layers: packet.Layers(r.UintN(1 << 12)), Tuple: tuple(r), Length: r.Uint32N(70000), IPID: uint16(r.UintN(1 << 16)),
		TTL: uint8(r.UintN(256)), FragmentOffset: uint16(r.UintN(1 << 16)), MoreFragments: r.IntN(2) == 0,
		ICMPType: pick(r, 8, 0, 128, 129, uint8(r.UintN(256))), ICMPCode: uint8(r.UintN(256)),
		ICMPID: uint16(r.UintN(1 << 16)), ICMPSeq: uint16(r.UintN(1 << 16)),
		TCPSeq: r.Uint32(), TCPAck: r.Uint32(), TCPFlags: uint8(r.UintN(256)), Quoted: tuple(r),
	}
	for i := range h.SourceMAC {
		h.SourceMAC[i], h.DestinationMAC[i] = byte(r.UintN(256)), byte(r.UintN(256))
	}
	return h
}
