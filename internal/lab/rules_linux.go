package lab

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// rules is one nf_tables table of a namespace and the socket to change it by. What
// is added takes effect with flush.
type rules struct {
	conn  *nftables.Conn
	table *nftables.Table
}

// newRules begins a table of IPv4.
func (n *node) newRules(table string) (rules, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(n.ns.Fd()))
	if err != nil {
		return rules{}, fmt.Errorf("open nf_tables in %s: %w", n.name, err)
	}
	return rules{conn, conn.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv4})}, nil
}

// chain adds a chain that others jump to.
func (r rules) chain(name string) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Name: name, Table: r.table})
}

// nat adds a chain of NAT at a hook.
func (r rules) nat(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Name: name, Table: r.table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
}

// add adds a rule, which is its parts in their order.
func (r rules) add(chain *nftables.Chain, parts ...[]expr.Any) {
	r.conn.AddRule(r.rule(chain, parts))
}

func (r rules) rule(chain *nftables.Chain, parts [][]expr.Any) *nftables.Rule {
	return &nftables.Rule{Table: r.table, Chain: chain, Exprs: slices.Concat(parts...)}
}

// insert adds a rule before all others of the chain.
func (r rules) insert(chain *nftables.Chain, parts ...[]expr.Any) {
	r.conn.InsertRule(r.rule(chain, parts))
}

// flush hands everything to the kernel at once.
func (r rules) flush(what string) error {
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("make rules of %s: %w", what, err)
	}
	return nil
}

// remove takes the table away.
func (r rules) remove() error {
	r.conn.DelTable(r.table)
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", r.table.Name, err)
	}
	return nil
}
