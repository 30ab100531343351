package netinfo

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// setHairpin notes at each port of a bridge whether it sends back what came in by it
// (IFLA_BRPORT_MODE, linux/if_link.h). What can't be read stays unknown. A dump of
// links tells that only of the family AF_BRIDGE.
func (p *probe) setHairpin() {
	ports := map[int32]*linkFacts{}
	for i := range p.links {
		if l := &p.links[i]; l.master != 0 {
			ports[l.Key.Index] = l
		}
	}
	if len(ports) == 0 {
		return
	}
	var found [][]byte
	ask := func() (err error) {
		request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfInfomsg(unix.AF_BRIDGE))
		found, err = dump(func() ([][]byte, error) { return request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK) })
		return err
	}
	var err error
	if p.inside {
		err = ask()
	} else {
		err = p.handle.Do(ask)
	}
	if err != nil {
		return
	}
	for _, m := range found {
		if len(m) < unix.SizeofIfInfomsg {
			continue
		}
		if port := ports[nl.DeserializeIfInfomsg(m).Index]; port != nil {
			port.Hairpin = hairpinOf(m[unix.SizeofIfInfomsg:])
		}
	}
}

// hairpinOf finds the mode of a port among the attributes of a link.
func hairpinOf(attributes []byte) string {
	list, err := nl.ParseRouteAttr(attributes)
	if err != nil {
		return ""
	}
	for _, a := range list {
		if a.Attr.Type != unix.IFLA_PROTINFO|unix.NLA_F_NESTED {
			continue
		}
		inner, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return ""
		}
		for _, b := range inner {
			if b.Attr.Type == nl.IFLA_BRPORT_MODE && len(b.Value) > 0 {
				return map[bool]string{true: HairpinOn, false: HairpinOff}[b.Value[0] != 0]
			}
		}
	}
	return ""
}
