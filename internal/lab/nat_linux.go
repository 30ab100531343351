package lab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// nat is the host's NAT rules: one nf_tables table, with the chains that
// Docker makes through iptables.
type nat struct {
	rules
	postrouting *nftables.Chain
	docker      *nftables.Chain // published ports
}

// Masquerade lets a bridge's containers leave the host under its address:
//
//	ip saddr SUBNET oifname != "BRIDGE" counter masquerade
//
// Where a proxy process takes what containers of the bridge send to published ports,
// they are kept from the rules of those, as by Docker's userland-proxy:
//
//	iifname "BRIDGE" counter return
func (h *Host) Masquerade(b *Bridge) error {
	t, err := h.translation()
	if err != nil {
		return err
	}
	if h.proxyless {
		t.add(t.postrouting, fromThisHost(), oifname(expr.CmpOpEq, b.Name), counter, masquerades)
	} else {
		t.insert(t.docker, iifname(expr.CmpOpEq, b.Name), counter, verdict(expr.VerdictReturn, ""))
	}
	t.add(t.postrouting, source(b.Subnet()), oifname(expr.CmpOpNeq, b.Name), counter, masquerades)
	return t.flush("masquerade of " + b.Name)
}

// Publish makes a TCP port of the host lead to a port of a container, without
// a proxy process:
//
//	iifname != "BRIDGE" tcp dport PORT counter dnat to CONTAINER:PORT
//
// where the first part is missing on a host WithoutProxy,
//
// reached from prerouting and output for local destinations, and, as Docker
// does, masquerade for a container that calls itself by the published port.
func (h *Host) Publish(port uint16, c *Container, containerPort uint16) error {
	t, err := h.translation()
	if err != nil {
		return err
	}
	self := netip.PrefixFrom(c.Address, c.Address.BitLen())
	var from []expr.Any // anywhere
	if !h.proxyless {
		from = iifname(expr.CmpOpNeq, c.Bridge.Name)
	}
	t.add(t.docker, from, tcpTo(port), counter, dnat(c.Address, containerPort))
	t.add(t.postrouting, source(self), destination(expr.CmpOpEq, self), tcpTo(containerPort), counter, masquerades)
	if err := t.flush(fmt.Sprintf("port %d", port)); err != nil {
		return err
	}
	if h.filter != nil {
		return h.filter.letIn(c, containerPort)
	}
	return nil
}

// translation returns the NAT table, which the first rule makes.
func (h *Host) translation() (*nat, error) {
	if h.nat != nil {
		return h.nat, nil
	}
	r, err := h.node.newRules("nat")
	if err != nil {
		return nil, err
	}
	t := &nat{rules: r, docker: r.chain("DOCKER")}
	prerouting := r.nat("PREROUTING", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	output := r.nat("OUTPUT", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	t.postrouting = r.nat("POSTROUTING", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	jump := verdict(expr.VerdictJump, t.docker.Name)
	t.add(prerouting, toThisHost(), counter, jump)
	var where []expr.Any // anywhere
	if !h.proxyless {
		where = destination(expr.CmpOpNeq, netip.MustParsePrefix("127.0.0.0/8"))
	}
	t.add(output, where, toThisHost(), counter, jump)
	if err := t.flush("NAT table"); err != nil {
		return nil, err
	}
	h.nat = t
	h.node.onClose(t.remove)
	return t, nil
}
