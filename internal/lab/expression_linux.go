package lab

import (
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What follows are the pieces of rules, each as nft(8) compiles it; register 1
// carries the value from one expression to the next.

var (
	counter     = []expr.Any{&expr.Counter{}}
	masquerades = []expr.Any{&expr.Masq{}}
)

func source(p netip.Prefix) []expr.Any { return address(12, expr.CmpOpEq, p) }

func destination(op expr.CmpOp, p netip.Prefix) []expr.Any { return address(16, op, p) }

// address compares the address at an offset of the IPv4 header (RFC 791).
func address(offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
	compare := &expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()}
	if p.IsSingleIP() {
		return []expr.Any{load, compare}
	}
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return []expr.Any{
		load,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		compare,
	}
}

func iifname(op expr.CmpOp, name string) []expr.Any { return linkName(expr.MetaKeyIIFNAME, op, name) }

func oifname(op expr.CmpOp, name string) []expr.Any { return linkName(expr.MetaKeyOIFNAME, op, name) }

func linkName(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

func tcpTo(port uint16) []expr.Any { return portAt(2, unix.IPPROTO_TCP, port) }

func udpTo(port uint16) []expr.Any { return portAt(2, unix.IPPROTO_UDP, port) }

func udpFrom(port uint16) []expr.Any { return portAt(0, unix.IPPROTO_UDP, port) }

// portAt compares the port at an offset of the header of UDP or TCP (RFC 768, RFC
// 9293).
func portAt(offset uint32, protocol byte, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// toThisHost is fib daddr type local.
func toThisHost() []expr.Any {
	return local(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true})
}

// fromThisHost is fib saddr type local.
func fromThisHost() []expr.Any {
	return local(&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagSADDR: true})
}

func local(fib *expr.Fib) []expr.Any {
	return []expr.Any{fib, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}
}

func dnat(to netip.Addr, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}

// portOf is snat to :PORT: the address stays.
func portOf(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegProtoMin: 1, Specified: true},
	}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// established is ct state established,related.
func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
