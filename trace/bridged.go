package trace

import (
	"fmt"
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
)

// bridged explains an answer of a translated flow that a bridge carried straight
// to the asker, with the answerer's own address: bridged packets meet NAT only
// while net.bridge.bridge-nf-call-iptables is on (bridge netfilter). Empty when it
// is not that.
func bridged(j *Journey, hops []sighting) string {
	if j.Verdict.Result != Delivered || j.Verdict.Hop < 0 {
		return ""
	}
	end := &hops[j.Verdict.Hop]
	for i := range hops {
		s := &hops[i]
		r := s.flow
		if r.flow == nil || !r.reply || r.about || s.point.Direction != capture.Out ||
			s.link == nil || s.link.master == (netinfo.LinkKey{}) || end.link == nil || s.link.peer != end.link.key {
			continue
		}
		f := r.flow.direction(true)
		if f.before == f.after || s.tuple != f.before || end.tuple != f.before || f.before.Destination() != f.after.Destination() {
			continue
		}
		is, should := netip.AddrPortFrom(f.before.Source(), f.before.SourcePort), netip.AddrPortFrom(f.after.Source(), f.after.SourcePort)
		so, setting := "so the asker knows no such connection and refuses it (RST)", "bridge-nf-call-iptables"
		if s.tuple.Protocol != packet.TCP {
			so = "so a program that connected its socket to that does not get it, and another sees an address that it did not ask"
		}
		if !s.tuple.Is4() {
			setting = "bridge-nf-call-ip6tables"
		}
		return fmt.Sprintf("came over the bridge un-NATed: from %v where %v was asked, %s. Bridged packets pass NAT only with net.bridge.%s = 1", is, should, so, setting)
	}
	return ""
}

// halfway explains an answer that a link shows between its two translations: with
// the destination of its asker on this host again, and the source not yet changed,
// so that it goes to a loopback address on a link that is none. Empty when it is
// not that.
func halfway(j *Journey, hops []sighting) string {
	if j.Verdict.Result != Delivered || j.Verdict.Hop < 0 {
		return ""
	}
	s := &hops[j.Verdict.Hop]
	r := s.flow
	if r.flow == nil || !r.reply || r.about || !s.tuple.Destination().IsLoopback() || s.link == nil || s.link.loop {
		return ""
	}
	f := r.flow.direction(true)
	if s.tuple != f.half || f.half == f.after {
		return ""
	}
	return fmt.Sprintf("half translated at %s: the destination is %v again, which asked; the source, %v, becomes what was asked, %v, behind this tap",
		s.linkName(), s.tuple.Destination(), netip.AddrPortFrom(s.tuple.Source(), s.tuple.SourcePort), netip.AddrPortFrom(f.after.Source(), f.after.SourcePort))
}
