package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// filter is the host's FORWARD rules: one nf_tables table, with the chains that
// Docker makes through iptables.
type filter struct {
	rules
	forward        *nftables.Chain // policy drop
	docker         *nftables.Chain // published ports
	stage1, stage2 *nftables.Chain // networks apart from each other
}

// Network makes a bridge with all the rules that Docker lays for a network: it is
// masqueraded, its containers reach each other and may begin connections to
// anywhere, nothing else may begin one to them except by published ports, and it is
// isolated from the host's other networks.
func (h *Host) Network(bridge string, gateway netip.Prefix) (*Bridge, error) {
	b, err := h.Bridge(bridge, gateway)
	if err != nil {
		return nil, err
	}
	if err := h.Masquerade(b); err != nil {
		return nil, err
	}
	t, err := h.forwarding()
	if err != nil {
		return nil, err
	}
	in, out, notOut := iifname(expr.CmpOpEq, b.Name), oifname(expr.CmpOpEq, b.Name), oifname(expr.CmpOpNeq, b.Name)
	t.add(t.forward, out, established(), counter, verdict(expr.VerdictAccept, ""))
	t.add(t.forward, out, counter, verdict(expr.VerdictJump, t.docker.Name))
	t.add(t.forward, in, notOut, counter, verdict(expr.VerdictAccept, ""))
	t.add(t.forward, in, out, counter, verdict(expr.VerdictAccept, ""))
	t.insert(t.stage1, in, notOut, counter, verdict(expr.VerdictJump, t.stage2.Name))
	t.insert(t.stage2, out, counter, verdict(expr.VerdictDrop, ""))
	return b, t.flush("network " + b.Name)
}

// NamedNetwork makes a Network whose containers find each other by name, as they do
// on those that people make for an engine, unlike on its docker0.
func (h *Host) NamedNetwork(bridge string, gateway netip.Prefix) (*Bridge, error) {
	b, err := h.Network(bridge, gateway)
	if err == nil {
		b.names = new(names)
	}
	return b, err
}

// InternalNetwork makes a bridge with the rules that Docker lays for an internal
// network: what does not come from it never leaves to it, nor the other way round.
// There is no masquerade.
func (h *Host) InternalNetwork(bridge string, gateway netip.Prefix) (*Bridge, error) {
	b, err := h.Bridge(bridge, gateway)
	if err != nil {
		return nil, err
	}
	t, err := h.forwarding()
	if err != nil {
		return nil, err
	}
	in, out := iifname(expr.CmpOpEq, b.Name), oifname(expr.CmpOpEq, b.Name)
	t.add(t.forward, in, out, counter, verdict(expr.VerdictAccept, ""))
	t.insert(t.stage1, destination(expr.CmpOpNeq, b.Subnet()), in, counter, verdict(expr.VerdictDrop, ""))
	t.insert(t.stage1, address(12, expr.CmpOpNeq, b.Subnet()), out, counter, verdict(expr.VerdictDrop, ""))
	return b, t.flush("network " + b.Name)
}

// letIn accepts what comes for a published port, once it is translated.
func (t *filter) letIn(c *Container, port uint16) error {
	self := netip.PrefixFrom(c.Address, c.Address.BitLen())
	t.add(t.docker, destination(expr.CmpOpEq, self), iifname(expr.CmpOpNeq, c.Bridge.Name), oifname(expr.CmpOpEq, c.Bridge.Name), tcpTo(port), counter, verdict(expr.VerdictAccept, ""))
	return t.flush(fmt.Sprintf("port %d of %s", port, c.Name))
}

// forwarding returns the filter table, which the first network makes.
func (h *Host) forwarding() (*filter, error) {
	if h.filter != nil {
		return h.filter, nil
	}
	r, err := h.node.newRules("filter")
	if err != nil {
		return nil, err
	}
	t := &filter{rules: r, docker: r.chain("DOCKER"), stage1: r.chain("DOCKER-ISOLATION-STAGE-1"), stage2: r.chain("DOCKER-ISOLATION-STAGE-2")}
	user := r.chain("DOCKER-USER")
	drop := nftables.ChainPolicyDrop
	t.forward = r.conn.AddChain(&nftables.Chain{
		Name: "FORWARD", Table: r.table, Type: nftables.ChainTypeFilter, Policy: &drop,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	for _, chain := range []*nftables.Chain{t.stage1, t.stage2, user} {
		t.add(chain, counter, verdict(expr.VerdictReturn, ""))
	}
	t.add(t.forward, counter, verdict(expr.VerdictJump, user.Name))
	t.add(t.forward, counter, verdict(expr.VerdictJump, t.stage1.Name))
	if err := t.flush("filter table"); err != nil {
		return nil, err
	}
	h.filter = t
	h.node.onClose(t.remove)
	return t, nil
}
