package netfilter

// Exempts reports whether a rule takes packets out of connection tracking
// (notrack), wherever it stands and whatever it asks for. They have no flow, pass
// NAT untouched, and no event ever tells of them.
func (r *Ruleset) Exempts() bool { return r.has((*expression).exempts) }

// has reports whether some rule has an expression of that sort.
func (r *Ruleset) has(sort func(*expression) bool) bool {
	if r == nil {
		return false
	}
	for _, t := range r.tables {
		for _, c := range t.chains {
			for i := range c.rules {
				for j := range c.rules[i].expressions {
					if sort(&c.rules[i].expressions[j]) {
						return true
					}
				}
			}
		}
	}
	return false
}

// Exempted reports whether the rules take this packet, which has just come to the
// hook (Prerouting or Output), out of connection tracking. What decides are the
// chains before its priority (NF_IP_PRI_CONNTRACK): behind it notrack does nothing.
// It is a pure function, like Walk.
func (r *Ruleset) Exempted(hook Hook, p Packet) Fact {
	all, complete := r.beforeTracking(hook, p)
	untracked := 0
	for i := range all {
		switch o := &all[i]; {
		case o.aborted != "" || o.left.State == StateUnknown:
			return NotKnown
		case o.left.State == StateUntracked:
			untracked++
		}
	}
	switch {
	case !complete || untracked != 0 && untracked != len(all):
		return NotKnown
	case untracked == 0:
		return False
	}
	return True
}

// beforeTracking walks a packet that has just come to the hook through the chains before
// connection tracking; complete is false where that can't be done in full.
func (r *Ruleset) beforeTracking(hook Hook, p Packet) (all []outcome, complete bool) {
	if r == nil || r.Unreadable != nil || r.natOnly || !p.Tuple.Valid() {
		return nil, false
	}
	if _, hidden := r.hidden(p.Tuple.Is4(), false); hidden {
		return nil, false
	}
	p.State = StateNew // to tell from it: what may have become of it is not known then
	return r.explore(&p, func(x *pass) { x.early(hook) })
}

func (e *expression) exempts() bool {
	switch {
	case e.name == "notrack":
		return true
	case e.name == "target" && e.extension == "NOTRACK":
		return true
	case e.name == "target" && e.extension == "CT":
		t, ok := decodeCTTarget(e)
		return ok && t.flags&targetNoTrack != 0
	}
	return false
}
