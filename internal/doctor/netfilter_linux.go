package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

// getStatsCPU asks for each processor's counters (IPCTNL_MSG_CT_GET_STATS_CPU,
// include/uapi/linux/netfilter/nfnetlink_conntrack.h): the cheapest question,
// since a table may hold a million entries.
const getStatsCPU = 4

// patience is how long the kernel may take to answer a question that it answers
// at once.
const patience = 2 * time.Second

// tryFlows asks ctnetlink in this namespace for its counters.
func tryFlows() (err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return fmt.Errorf("ask conntrack: %w", err)
	}
	question := netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | getStatsCPU, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // struct nfgenmsg
	}
	if _, err := c.Execute(question); err != nil {
		return fmt.Errorf("ask conntrack: %w", err)
	}
	return nil
}

// tryAside tries in a new network namespace what would change this one.
func tryAside(h *Host) {
	ns, err := netns.New()
	if err != nil {
		h.Events, h.Owner = Trial{true, err}, Trial{true, err}
		return
	}
	defer ns.Close() //nolint:errcheck // nothing was written through it
	err = ns.Do(func() error {
		h.Events = Trial{true, tryEvents()}
		h.Owner = Trial{true, tryOwner()}
		return nil
	})
	if err != nil {
		h.Events, h.Owner = Trial{true, err}, Trial{true, err}
	}
}

// groupConntrackNew is ctnetlink's multicast group of new flows
// (NFNLGRP_CONNTRACK_NEW, include/uapi/linux/netfilter/nfnetlink.h).
const groupConntrackNew = 1

// tryEvents joins the events of new flows in the calling thread's namespace.
func tryEvents() (err error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.JoinGroup(groupConntrackNew); err != nil {
		return fmt.Errorf("join conntrack events: %w", err)
	}
	return nil
}

// tryOwner makes a table that belongs to its socket and sees that it goes with
// it (NFT_TABLE_F_OWNER, since Linux 5.12). An older kernel refuses the flag.
func tryOwner() (err error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return fmt.Errorf("ask nf_tables: %w", err)
	}
	c.AddTable(&nftables.Table{Name: "natlens-doctor", Family: nftables.TableFamilyINet, Flags: nftables.TableFlagOwner})
	err = c.Flush()
	if err := errors.Join(err, c.CloseLasting()); err != nil {
		return fmt.Errorf("make owner table: %w", err)
	}
	return nil
}

// readTables lists the tables of nf_tables in this namespace. iptables-nft's
// bear the names of iptables' tables and hold chains in capitals.
func (r *Rules) readTables() {
	c, err := nftables.New()
	if err != nil {
		r.Err = fmt.Errorf("ask nf_tables: %w", err)
		return
	}
	tables, err := c.ListTables()
	if err != nil {
		r.Err = fmt.Errorf("list tables: %w", err)
		return
	}
	chains, err := c.ListChains()
	if err != nil {
		r.Err = fmt.Errorf("list chains: %w", err)
		return
	}
	for _, t := range tables {
		name := familyName(t.Family) + " " + t.Name
		if madeByIPTables(t, chains) {
			r.IPTablesNFT = append(r.IPTablesNFT, name)
		} else {
			r.NFT = append(r.NFT, name)
		}
	}
	r.Read = true
}

// madeByIPTables goes by the names that iptables-nft is bound to (iptables(8)):
// its tables, and base chains that nft's users write in small letters.
func madeByIPTables(t *nftables.Table, chains []*nftables.Chain) bool {
	if !slices.Contains([]string{"filter", "nat", "mangle", "raw", "security"}, t.Name) {
		return false
	}
	for _, c := range chains {
		if c.Table.Name == t.Name && c.Table.Family == t.Family && c.Hooknum != nil && c.Name == strings.ToUpper(c.Name) {
			return true
		}
	}
	return false
}

// familyName returns nft's word for a family.
func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyARP:
		return "arp"
	case nftables.TableFamilyBridge:
		return "bridge"
	case nftables.TableFamilyNetdev:
		return "netdev"
	}
	return fmt.Sprintf("family %d", f)
}
