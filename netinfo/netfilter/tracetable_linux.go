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

// traceTable is the only thing that tracing writes: a table of nf_tables that
// belongs to one socket (NFT_TABLE_F_OWNER, Linux 5.12). Nobody else can change
// it, "nft flush ruleset" leaves it alone, and the kernel removes it when the
// socket is closed, however the process ends.
type traceTable struct {
	conn      *nftables.Conn
	name      string
	protocols []packet.Protocol
	chains    []*nftables.Chain
	rate      int
	burst     int
}

// newTraceTable makes the table. Each of its rules sets nftrace on at most rate
// packets a second, and burst at once, of one protocol that enter the namespace or
// begin in it; nil protocols are all. It needs CAP_NET_ADMIN in ns.
func newTraceTable(ns *netns.Handle, protocols []packet.Protocol, rate, burst int) (*traceTable, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(ns.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	t := &traceTable{
		conn: conn, name: fmt.Sprintf("%s%08x", TraceTable, rand.Uint32()), protocols: protocols, rate: rate, burst: burst,
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

// addRules adds to the chains what asks for a trace.
func (t *traceTable) addRules() {
	for _, chain := range t.chains {
		if t.protocols == nil {
			t.conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: t.expressions()})
		}
		for _, p := range t.protocols {
			match := []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p)}},
			}
			t.conn.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: append(match, t.expressions()...)})
		}
	}
}

// expressions are: limit rate RATE/second burst BURST packets meta nftrace set 1.
func (t *traceTable) expressions() []expr.Any {
	return []expr.Any{
		&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(t.rate), Unit: expr.LimitTimeSecond, Burst: uint32(t.burst)},
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
	}
}

// limit changes the rate, between two packets.
func (t *traceTable) limit(rate int) error {
	if rate == t.rate {
		return nil
	}
	t.rate = rate
	for _, chain := range t.chains {
		t.conn.FlushChain(chain)
	}
	t.addRules()
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("change table %s: %w", t.name, err)
	}
	return nil
}

// close lets the kernel remove the table.
func (t *traceTable) close() error { return t.conn.CloseLasting() }
