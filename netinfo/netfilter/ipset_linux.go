package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Of the netlink protocol of ipset (include/uapi/linux/netfilter/ipset/ip_set.h).
const (
	subsystemIPSet    = 6
	ipsetGetByIndex   = 15
	ipsetProtocol     = 7
	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrIndex    = 11
)

// nameIPSets notes the names of the sets of ipset that rules ask for: a rule has
// their index alone. A set that has gone meanwhile keeps none.
func (s *socket) nameIPSets(in *receiver, r *Ruleset) error {
	names := map[uint16]string{}
	for _, table := range r.tables {
		for _, c := range table.chains {
			for i := range c.rules {
				for k := range c.rules[i].expressions {
					e := &c.rules[i].expressions[k]
					if e.name != "match" || e.extension != "set" {
						continue
					}
					m, _, ok := decodeIPSet(e)
					if !ok {
						continue
					}
					name, asked := names[m.index]
					if !asked {
						var err error
						if name, err = s.ipsetName(in, m.index); err != nil {
							return fmt.Errorf("set %d of ipset: %w", m.index, err)
						}
						names[m.index] = name
					}
					e.set = name
				}
			}
		}
	}
	return nil
}

// ipsetName asks for the name of a set; empty when there is none, or no ipset.
func (s *socket) ipsetName(in *receiver, index uint16) (name string, err error) {
	attrs := appendAttribute(nil, ipsetAttrProtocol, []byte{ipsetProtocol})
	attrs = appendAttribute(attrs, ipsetAttrIndex|unix.NLA_F_NET_BYTEORDER, binary.BigEndian.AppendUint16(nil, index))
	err = s.askOf(subsystemIPSet, in, ipsetGetByIndex, 0, unix.AF_UNSPEC, attrs, func(_, _ uint8, a attributes) {
		for {
			kind, value, ok := a.next()
			if !ok {
				return
			}
			if kind == ipsetAttrName {
				name = text(value)
			}
		}
	})
	var number unix.Errno
	if errors.As(err, &number) {
		return "", nil // there is no such set now, or this kernel has no ipset
	}
	return name, err
}
