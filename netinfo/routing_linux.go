package netinfo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readRouting takes what decides where packets go anew, with the routes that were read.
// Where something of it can't be read nothing of it is known, which is no error.
func (p *probe) readRouting(routes []netlink.Route) {
	p.routing = nil
	r := &Routing{}
	read := func() (err error) {
		if r.Rules, err = readRoutingRules(); err != nil {
			return err
		}
		return r.readSettings(p.links)
	}
	var err error
	if p.inside {
		err = read()
	} else {
		err = p.handle.Do(read)
	}
	if err != nil {
		return
	}
	for i := range routes {
		if one, ok := tableRoute(&routes[i]); ok {
			r.Routes = append(r.Routes, one)
		}
	}
	slices.SortStableFunc(r.Routes, func(a, b TableRoute) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Destination.Addr().BitLen(), b.Destination.Addr().BitLen()),
			-cmp.Compare(a.Destination.Bits(), b.Destination.Bits()), a.Destination.Addr().Compare(b.Destination.Addr()),
			-cmp.Compare(a.TOS, b.TOS), cmp.Compare(a.Metric, b.Metric))
	})
	p.routing = r
}

// tableRoute is a route as the kernel has it; false for what is no such thing.
func tableRoute(r *netlink.Route) (TableRoute, bool) {
	out := TableRoute{Table: uint32(r.Table), Type: RouteType(r.Type), Metric: r.Priority, TOS: uint8(r.Tos)}
	// IPv6 has one of these at the very end of its table (fib6_null_entry).
	if r.Family != unix.AF_INET && r.Family != unix.AF_INET6 || uint32(r.Priority) == math.MaxUint32 {
		return out, false
	}
	out.Destination = defaultOf(r.Family)
	if prefix, ok := prefixFromNet(r.Dst); ok {
		out.Destination = prefix
	}
	if out.Type != RouteUnicast {
		return out, true
	}
	for _, hop := range hopsOf(r) {
		if hop.Flags&unix.RTNH_F_DEAD == 0 {
			out.Hops = append(out.Hops, NextHop{int32(hop.LinkIndex), gatewayOf(hop)})
		}
	}
	return out, true
}

// readSettings reads net.ipv4.conf and net.ipv6.conf of the thread's namespace.
func (r *Routing) readSettings(links []linkFacts) (err error) {
	if r.Forward6, err = isOn("ipv6/conf/all/forwarding"); err != nil {
		return err
	}
	var all, own struct{ filter, accept, localnet, valid int }
	for name, into := range map[string]*int{"rp_filter": &all.filter, "accept_local": &all.accept, "route_localnet": &all.localnet, "src_valid_mark": &all.valid} {
		if *into, err = setting("ipv4/conf/all/" + name); err != nil {
			return err
		}
	}
	for i := range links {
		l := &links[i]
		if l.master != 0 && l.Kind != "bridge" {
			continue // what comes in by a port is the bridge's, or another master's
		}
		out := LinkRouting{Link: l.Key.Index}
		of := filepath.Join("ipv4/conf", l.Name)
		if out.Forwarding, err = isOn(of + "/forwarding"); err != nil {
			return err
		}
		for name, into := range map[string]*int{"rp_filter": &own.filter, "accept_local": &own.accept, "route_localnet": &own.localnet, "src_valid_mark": &own.valid} {
			if *into, err = setting(of + "/" + name); err != nil {
				return err
			}
		}
		out.RPFilter, out.RPFilterOfAll = max(all.filter, own.filter), all.filter > own.filter
		out.AcceptLocal, out.RouteLocalnet, out.ValidMark = all.accept|own.accept != 0, all.localnet|own.localnet != 0, all.valid|own.valid != 0
		if out.Forward6, err = isOn(filepath.Join("ipv6/conf", l.Name, "force_forwarding")); err != nil {
			return err
		}
		r.Links = append(r.Links, out)
	}
	return nil
}

// setting reads a number below /proc/sys/net, which shows the namespace of the thread that
// opens it (proc(5)); 0 where the kernel has no such setting.
func setting(name string) (int, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys/net", name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(b)))
}

func isOn(name string) (bool, error) {
	n, err := setting(name)
	return n != 0, err
}

// Attributes of a rule, and a flag (include/uapi/linux/fib_rules.h).
const (
	ruleTo            = 1
	ruleFrom          = 2
	ruleIn            = 3
	ruleGoto          = 4
	rulePriority      = 6
	ruleMark          = 10
	ruleFlow          = 11
	ruleSuppressGroup = 13
	ruleSuppress      = 14
	ruleTable         = 15
	ruleMask          = 16
	ruleOut           = 17
	rulePad           = 18
	ruleOrigin        = 21 // who made it
	ruleProtocol      = 22
	ruleSourcePorts   = 23
	rulePorts         = 24
	ruleSourceMask    = 28 // since Linux 6.15, of ports
	ruleMaskOfPorts   = 29

	ruleInvert     = 2
	ruleHeaderSize = 12 // struct fib_rule_hdr
)

// readRoutingRules dumps the rules of the thread's namespace.
func readRoutingRules() (rules []RoutingRule, err error) {
	conn, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		header := make([]byte, ruleHeaderSize)
		header[0] = family
		answers, err := conn.Execute(mdlayher.Message{
			Header: mdlayher.Header{Type: unix.RTM_GETRULE, Flags: mdlayher.Request | mdlayher.Dump}, Data: header,
		})
		if errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without policy routing, or without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("list rules of routing: %w", err)
		}
		for _, a := range answers {
			rule, err := decodeRoutingRule(a.Data)
			if err != nil {
				return nil, fmt.Errorf("rule of routing: %w", err)
			}
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

func decodeRoutingRule(b []byte) (r RoutingRule, err error) {
	if len(b) < ruleHeaderSize {
		return r, errors.New("too short")
	}
	r.Is6, r.Action, r.Table = b[0] == unix.AF_INET6, RuleAction(b[7]), uint32(b[4])
	r.Other = b[3] != 0 // type of service
	r.Invert = binary.NativeEndian.Uint32(b[8:])&ruleInvert != 0
	a, err := mdlayher.NewAttributeDecoder(b[ruleHeaderSize:])
	if err != nil {
		return r, err
	}
	prefix := func(bits byte) netip.Prefix {
		addr, _ := netip.AddrFromSlice(a.Bytes())
		return netip.PrefixFrom(addr, int(bits)).Masked()
	}
	masked := false
	for a.Next() {
		switch a.Type() {
		case ruleTo:
			r.To = prefix(b[1])
		case ruleFrom:
			r.From = prefix(b[2])
		case ruleIn:
			r.In = a.String()
		case ruleOut:
			r.Out = a.String()
		case ruleGoto:
			r.Goto = a.Uint32()
		case rulePriority:
			r.Priority = a.Uint32()
		case ruleMark:
			r.Mark = a.Uint32()
		case ruleMask:
			r.Mask, masked = a.Uint32(), true
		case ruleTable:
			r.Table = a.Uint32()
		case ruleProtocol:
			r.Protocol = a.Uint8()
		case ruleSourcePorts:
			r.SourcePorts = ports16(a.Bytes())
		case rulePorts:
			r.DestinationPorts = ports16(a.Bytes())
		case ruleSuppress:
			if n := a.Uint32(); n != math.MaxUint32 {
				r.Suppress = int(n) + 1
			}
		case ruleSuppressGroup:
			r.Other = r.Other || a.Uint32() != math.MaxUint32
		case ruleSourceMask, ruleMaskOfPorts:
			r.Other = r.Other || a.Uint16() != math.MaxUint16
		case ruleFlow, rulePad, ruleOrigin:
		default:
			r.Other = true
		}
	}
	if r.Mark != 0 && !masked {
		r.Mask = math.MaxUint32
	}
	return r, a.Err()
}

// ports16 is struct fib_rule_port_range.
func ports16(b []byte) (r [2]uint16) {
	if len(b) >= 4 {
		r = [2]uint16{binary.NativeEndian.Uint16(b), binary.NativeEndian.Uint16(b[2:])}
	}
	return r
}
