package capture

import (
	"slices"

	"golang.org/x/net/bpf"

	"natlens/capture/packet"
)

// Link types as sockaddr_ll.sll_hatype has them (include/uapi/linux/if_arp.h).
const (
	arphrdEther    = 1
	arphrdTunnel   = 768
	arphrdTunnel6  = 769
	arphrdLoopback = 772
	arphrdSIT      = 776
	arphrdRawIP    = 519
	arphrdNone     = 0xfffe
)

// rawLinks are the types whose frames begin with the IP header.
var rawLinks = []uint32{arphrdRawIP, arphrdTunnel, arphrdTunnel6, arphrdSIT, arphrdNone}

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
)

// beforeProtocol are the IPv6 next-header values behind which the protocol may
// still come: hop-by-hop options, routing, fragment, ESP, AH, destination
// options, mobility, HIP, shim6 (IANA "IPv6 Extension Header Types").
var beforeProtocol = []packet.Protocol{0, 43, 44, 50, 51, 60, 135, 139, 140}

// filterProgram returns the classic BPF program of a ring: which packets enter
// it, and how many bytes of each.
//
// Every doubt passes: frames that end before their protocol, tags that stand in
// the bytes (the kernel moves only the outermost one into the frame's metadata)
// and links with unknown headers. Neighbour discovery passes as ARP does: it
// tells why a packet got no further. So does IGMP, as what does its work for IPv6
// has extension headers.
//
// Loads are absolute, from where the frame begins. The kernel could also count
// from the network header, but such loads see only the linear part of a buffer
// and reject a packet whose headers are elsewhere (net/core/filter.c,
// bpf_internal_load_pointer_neg_helper).
func filterProgram(protocols []packet.Protocol, snaplen int) []bpf.Instruction {
	accept := bpf.RetConstant{Val: uint32(snaplen)}
	if protocols == nil {
		return []bpf.Instruction{accept}
	}
	ethernet := networkProgram(bpf.LoadAbsolute{Off: 12, Size: 2}, 14, protocols, accept)
	raw := networkProgram(bpf.LoadExtension{Num: bpf.ExtProto}, 0, protocols, accept)

	p := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLinkLayerType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arphrdEther, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arphrdLoopback, SkipFalse: 1},
		bpf.Jump{Skip: 1},
		bpf.Jump{Skip: uint32(len(ethernet))}, // a conditional jump reaches 255 only
	}
	p = append(p, ethernet...)
	for i, typ := range rawLinks {
		toRaw := uint32(2*(len(rawLinks)-1-i) + 1)
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: typ, SkipFalse: 1}, bpf.Jump{Skip: toRaw})
	}
	p = append(p, accept)
	return append(p, raw...)
}

// networkProgram tells packets apart behind a link header of so many bytes.
func networkProgram(loadEtherType bpf.Instruction, header uint32, protocols []packet.Protocol, accept bpf.RetConstant) []bpf.Instruction {
	v4 := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: header + 10, SkipTrue: 1},
		accept,
		bpf.LoadAbsolute{Off: header + 9, Size: 1},
	}
	v4 = append(v4, oneOf(slices.Concat(protocols, []packet.Protocol{packet.IGMP}), accept)...)
	v6 := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: header + 41, SkipTrue: 1},
		accept,
		bpf.LoadAbsolute{Off: header + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(packet.ICMPv6), SkipTrue: 5},
		bpf.LoadAbsolute{Off: header + 40, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 133, SkipTrue: 2}, // RFC 4861: 133 to 137
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 137, SkipTrue: 1},
		accept,
		bpf.LoadAbsolute{Off: header + 6, Size: 1},
	}
	v6 = append(v6, oneOf(slices.Concat(protocols, beforeProtocol), accept)...)

	p := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: header, SkipTrue: 1},
		accept,
		loadEtherType,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv4, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv6, SkipTrue: 1},
		accept,
		bpf.Jump{Skip: uint32(len(v4))},
	}
	return slices.Concat(p, v4, v6)
}

// oneOf accepts when the register holds one of the protocols, else rejects.
// Whichever is the shorter list stands in the program.
func oneOf(protocols []packet.Protocol, accept bpf.RetConstant) []bpf.Instruction {
	var wanted [256]bool
	count := 0
	for _, p := range protocols {
		if !wanted[p] {
			wanted[p] = true
			count++
		}
	}
	listed, hit, miss := true, accept, bpf.RetConstant{Val: 0}
	if count > len(wanted)/2 {
		listed, hit, miss = false, miss, hit
	}
	var program []bpf.Instruction
	for p := range wanted {
		if wanted[p] == listed {
			program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(p), SkipFalse: 1}, hit)
		}
	}
	return append(program, miss)
}
