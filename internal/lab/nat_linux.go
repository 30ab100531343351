package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nat is the host's NAT rules: one nf_tables table, with the chains that
// Docker makes through iptables.
type nat struct {
	conn        *nftables.Conn
	table       *nftables.Table
	postrouting *nftables.Chain
	docker      *nftables.Chain // published ports
}

// Masquerade lets a bridge's containers leave the host under its address:
//
//	ip saddr SUBNET oifname != "BRIDGE" counter masquerade
func (h *Host) Masquerade(b *Bridge) error {
	t, err := h.rules()
	if err != nil {
		return err
	}
	t.add(t.postrouting, source(b.Subnet()), oifname(expr.CmpOpNeq, b.Name), counter, []expr.Any{&expr.Masq{}})
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("masquerade %s: %w", b.Name, err)
	}
	return nil
}

// Publish makes a TCP port of the host lead to a port of a container, without
// a proxy process:
//
//	iifname != "BRIDGE" tcp dport PORT counter dnat to CONTAINER:PORT
//
// reached from prerouting and output for local destinations, and, as Docker
// does, masquerade for a container that calls itself by the published port.
func (h *Host) Publish(port uint16, c *Container, containerPort uint16) error {
	t, err := h.rules()
	if err != nil {
		return err
	}
	self := netip.PrefixFrom(c.Address, c.Address.BitLen())
	t.add(t.docker, iifname(expr.CmpOpNeq, c.Bridge.Name), tcpTo(port), counter, dnat(c.Address, containerPort))
	t.add(t.postrouting, source(self), destination(expr.CmpOpEq, self), tcpTo(containerPort), counter, []expr.Any{&expr.Masq{}})
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("publish port %d: %w", port, err)
	}
	if h.filter != nil {
		return h.filter.letIn(c, containerPort)
	}
	return nil
}

// rules returns the NAT table, which the first rule makes.
func (h *Host) rules() (*nat, error) {
	if h.nat != nil {
		return h.nat, nil
	}
	conn, err := nftables.New(nftables.WithNetNSFd(h.node.ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	t := &nat{conn: conn}
	t.table = conn.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	base := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{
			Name: name, Table: t.table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority,
		})
	}
	t.docker = conn.AddChain(&nftables.Chain{Name: "DOCKER", Table: t.table})
	prerouting := base("PREROUTING", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	output := base("OUTPUT", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	t.postrouting = base("POSTROUTING", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	jump := []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: t.docker.Name}}
	t.add(prerouting, toThisHost(), counter, jump)
	t.add(output, destination(expr.CmpOpNeq, netip.MustParsePrefix("127.0.0.0/8")), toThisHost(), counter, jump)
	if err := conn.Flush(); err != nil {
		return nil, fmt.Errorf("make NAT table: %w", err)
	}
	h.nat = t
	h.node.onClose(func() error {
		t.conn.DelTable(t.table)
		if err := t.conn.Flush(); err != nil {
			return fmt.Errorf("remove NAT table: %w", err)
		}
		return nil
	})
	return t, nil
}

func (t *nat) add(chain *nftables.Chain, parts ...[]expr.Any) {
	rule := &nftables.Rule{Table: t.table, Chain: chain}
	for _, p := range parts {
		rule.Exprs = append(rule.Exprs, p...)
	}
	t.conn.AddRule(rule)
}

// What follows are the pieces of rules, each as nft(8) compiles it; register 1
// carries the value from one expression to the next.

var counter = []expr.Any{&expr.Counter{}}

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

func tcpTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// toThisHost is fib daddr type local.
func toThisHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

func dnat(to netip.Addr, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}
}
