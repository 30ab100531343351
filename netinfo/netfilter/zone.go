package netfilter

import "encoding/binary"

// Zones are the zones of connection tracking that hold for the original direction and
// for the reply. A packet has a pair of them, which a rule chooses before it is looked
// up (0 and 0 where none does), and so has an entry, which is that of the packet that
// began it. The packet finds the entry by its tuple of a direction only where both have
// the same zone for that direction (nf_ct_zone_equal in
// include/net/netfilter/nf_conntrack_zones.h). So one tuple can have an entry in each
// zone, and an answer that is put into no zone does not find the entry of its question.
type Zones [2]uint16

// zoning is what rules did about the zones of a packet. The first that acts decides
// (nft_ct_set_zone_eval, xt_ct_target).
type zoning struct {
	chosen   bool // also zone 0, as by -j CT --helper
	doubtful bool // which it is, or whether any is chosen, is not known
	target   ctTarget
}

// ctTarget is the head of struct xt_ct_target_info (linux/netfilter/xt_CT.h).
type ctTarget struct{ flags, zone uint16 }

// Flags of a ctTarget.
const (
	targetNoTrack       = 1 << 0
	targetAlias         = 1 << 1 // it was asked for as -j NOTRACK
	targetZoneOriginal  = 1 << 2
	targetZoneReply     = 1 << 3
	targetZoneMark      = 1 << 4 // what the packet's mark is when it is looked up
	targetZoneDirection = targetZoneOriginal | targetZoneReply
)

func decodeCTTarget(e *expression) (t ctTarget, ok bool) {
	if len(e.data) < 4 {
		return t, false
	}
	return ctTarget{binary.NativeEndian.Uint16(e.data), binary.NativeEndian.Uint16(e.data[2:])}, true
}

// zones returns the pair that a zone makes which is chosen for one direction, or for both.
func (t ctTarget) zones() Zones {
	switch t.flags & targetZoneDirection {
	case targetZoneOriginal:
		return Zones{t.zone, 0}
	case targetZoneReply:
		return Zones{0, t.zone}
	}
	return Zones{t.zone, t.zone}
}

// sets reports whether it chooses a zone other than 0, or may.
func (t ctTarget) sets() bool {
	return t.flags&targetNoTrack == 0 && (t.zone != 0 || t.flags&targetZoneMark != 0)
}

// putIn chooses a packet's zones where that is still to be done.
func (m *machine) putIn(z zoning) {
	if !m.tracked && !m.zoning.chosen {
		m.zoning = z
		m.zoning.chosen = true
	}
}

// runCT runs -j CT, which leaves alone what was taken out of connection tracking.
func (m *machine) runCT(t ctTarget) {
	switch {
	case t.flags&targetNoTrack != 0:
		m.untrack()
	case m.state != StateUntracked:
		m.putIn(zoning{target: t})
	}
}

// setZone runs nft's "ct zone set", which takes a notrack back.
func (m *machine) setZone(e *expression) {
	b, k := m.load(e.source, 2)
	z := zoning{doubtful: k != knownValue}
	if !z.doubtful {
		z.target.zone = binary.NativeEndian.Uint16(b)
	}
	switch {
	case e.hasOperation && e.operation == ctOriginal:
		z.target.flags = targetZoneOriginal
	case e.hasOperation:
		z.target.flags = targetZoneReply
	}
	if !m.tracked && !m.zoning.chosen && m.state == StateUntracked {
		m.state = m.packet.State
	}
	m.putIn(z)
}

// zonesOf returns those in which the packet is looked up that a pass has let go of.
func (z zoning) zonesOf(p *Packet) (zones Zones, ok bool) {
	const low = 1<<16 - 1
	switch {
	case z.doubtful:
		return Zones{}, false
	case z.target.flags&targetZoneMark != 0:
		if p.MarkBits&low != low {
			return Zones{}, false
		}
		z.target.zone = uint16(p.Mark)
	}
	return z.target.zones(), true
}

// SetsZones reports whether a rule chooses zones of connection tracking other than 0,
// wherever it stands and whatever it asks for.
func (r *Ruleset) SetsZones() bool { return r.has((*expression).setsZone) }

func (e *expression) setsZone() bool {
	switch {
	case e.name == "ct":
		return e.hasSource && e.key == ctZone || e.opaque
	case e.name == "target" && e.extension == "CT":
		t, ok := decodeCTTarget(e)
		return !ok || t.sets()
	}
	return false
}

// Zones returns those that the rules choose for a packet which has just come to the hook
// (Prerouting or Output); false where that is not known. What decides are the chains
// before connection tracking, as with Exempted. It is a pure function, like Walk.
func (r *Ruleset) Zones(hook Hook, p Packet) (zones Zones, ok bool) {
	all, complete := r.beforeTracking(hook, p)
	if !complete {
		return Zones{}, false
	}
	first := true
	for i := range all {
		o := &all[i]
		if o.verdict == Dropped || o.left.State == StateUntracked {
			continue // it is not looked up
		}
		one, known := o.left.zoning.zonesOf(&o.left)
		if o.aborted != "" || !known || !first && one != zones {
			return Zones{}, false
		}
		zones, first = one, false
	}
	return zones, true
}
