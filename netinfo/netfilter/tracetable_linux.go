package netfilter

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// tracePriority is where the rules that ask for a trace stand: behind the
// reassembly of fragments (-400) and before all that other programs hook in,
// raw (-300) first.
const tracePriority = -350

// errNoOwner is the kernel's answer when it knows no table owners.
var errNoOwner = errors.New("tables that vanish with their owner need Linux 5.12")

// ownShare is the part of a namespace's rate that ICMP and ICMPv6, and the first
// packets of TCP connections, have beside it: what people send by hand to find out,
// and what rules of NAT are asked about, must not be a matter of luck while others
// send much. The first packet of other flows can't be told before connection
// tracking has looked, at -200.
const ownShare = 8

// traceLimit is how many packets of each protocol are traced at each of two hooks.
type traceLimit struct {
	rate  int // a second; 0: none is asked for
	burst int // at once
}

// own is the limit of what has a share of its own.
func (l traceLimit) own() traceLimit {
	return traceLimit{max(1, l.rate/ownShare), max(1, l.burst/ownShare)}
}

// traceTable is the only thing that tracing writes: a table of nf_tables that
// belongs to one socket (NFT_TABLE_F_OWNER, Linux 5.12). Nobody else can change
// it, "nft flush ruleset" leaves it alone, and the kernel removes it when the
// socket is closed, however the process ends.
type traceTable struct {
	conn      *nftables.Conn
	name      string
	protocols []packet.Protocol
	chains    []*nftables.Chain
	limit     traceLimit
}

// newTraceTable makes the table. Each of its rules sets nftrace on so many packets
// of one protocol that enter the namespace or begin in it; nil protocols are all. It
// needs CAP_NET_ADMIN in ns.
func newTraceTable(ns *netns.Handle, protocols []packet.Protocol, limit traceLimit) (*traceTable, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	t := &traceTable{
		conn: conn, name: fmt.Sprintf("%s%08x", TraceTable, rand.Uint32()), protocols: protocols, limit: limit,
	}
	table := conn.CreateTable(&nftables.Table{Name: t.name, Family: nftables.TableFamilyINet, Flags: nftables.TableFlagOwner})
	for name, hook := range map[string]*nftables.ChainHook{
		"prerouting": nftables.ChainHookPrerouting,
		"output":     nftables.ChainHookOutput,
	} {
		t.chains = append(t.chains, conn.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: hook, Priority: nftables.ChainPriorityRef(tracePriority),
		}))
	}
	t.addRules()
	if err := conn.Flush(); err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w: %w", errNoOwner, err)
		}
		return nil, errors.Join(fmt.Errorf("make table %s: %w", t.name, err), t.close())
	}
	return t, nil
}

// addRules adds to the chains what asks for a trace. The first rule of a chain
// counts all that come, see met.
func (t *traceTable) addRules() {
	if t.limit.rate == 0 {
		return
	}
	for _, chain := range t.chains {
		for i, match := range t.matches() {
			if i == 0 {
				match.expressions = append([]expr.Any{&expr.Counter{}}, match.expressions...)
			}
			t.conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: append(match.expressions, asking(match.limit)...)})
		}
	}
}

// traceMatch is what a rule asks for, and how much of it.
type traceMatch struct {
	expressions []expr.Any
	limit       traceLimit
}

// matches are those of a chain's rules. What has used up a share of its own may
// still have one of the others'.
func (t *traceTable) matches() (all []traceMatch) {
	if t.protocols == nil {
		return []traceMatch{
			{ofProtocol(packet.ICMP), t.limit.own()},
			{ofProtocol(packet.ICMPv6), t.limit.own()},
			{firstOfTCP(), t.limit.own()},
			{nil, t.limit},
		}
	}
	for _, p := range t.protocols {
		if p == packet.TCP {
			all = append(all, traceMatch{firstOfTCP(), t.limit.own()})
		}
		all = append(all, traceMatch{ofProtocol(p), t.limit})
	}
	return all
}

// ofProtocol is: meta l4proto PROTOCOL.
func ofProtocol(p packet.Protocol) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p)}},
	}
}

// firstOfTCP is: tcp flags & (syn | ack) == syn.
func firstOfTCP() []expr.Any {
	const flagsOffset, syn, ack = 13, 0x02, 0x10 // RFC 9293, section 3.1
	return append(ofProtocol(packet.TCP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flagsOffset, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}})
}

// asking is: limit rate RATE/second burst BURST packets meta nftrace set 1 accept.
// Packets go on to the next chain; no second rule asks for one.
func asking(l traceLimit) []expr.Any {
	return []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(l.rate), Unit: expr.LimitTimeSecond, Burst: uint32(l.burst)},
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
}

// ask changes the limit, between two packets. Without rules (rate 0) the kernel asks
// of no packet any more whether it is traced, once that is so in all namespaces, and
// the chains that stay cost next to nothing. They stay because the kernel, when a
// hook goes, drops what waits in the namespace for a program (nf_queue_nf_hook_drop).
func (t *traceTable) ask(limit traceLimit) error {
	if limit == t.limit {
		return nil
	}
	was := t.limit
	t.limit = limit
	for _, chain := range t.chains {
		t.conn.FlushChain(chain)
	}
	t.addRules()
	if err := t.conn.Flush(); err != nil {
		t.limit = was
		return fmt.Errorf("change table %s: %w", t.name, err)
	}
	return nil
}

// met returns how many packets came to the rules since they were made.
func (t *traceTable) met() (packets uint64, err error) {
	for _, chain := range t.chains {
		rules, err := t.conn.GetRules(chain.Table, chain)
		if err != nil {
			return 0, fmt.Errorf("read table %s: %w", t.name, err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if c, ok := e.(*expr.Counter); ok {
					packets += c.Packets
				}
			}
		}
	}
	return packets, nil
}

// close lets the kernel remove the table.
func (t *traceTable) close() error { return t.conn.CloseLasting() }
