package netfilter

// Tracks reports whether a rule makes the kernel track connections of a family: it
// begins to with the first chain of NAT, or rule that asks for a connection's state
// (nf_ct_netns_get, net/netfilter/nf_conntrack_proto.c). False says little: other
// things, such as a bridge's own tracking, do so, too.
func (r *Ruleset) Tracks(is4 bool) bool {
	if r == nil {
		return false
	}
	for key, t := range r.tables {
		if own := map[bool]string{true: "ip", false: "ip6"}[is4]; key.family != own && key.family != "inet" {
			continue
		}
		for _, c := range t.chains {
			if c.base && c.kind == "nat" {
				return true
			}
			for i := range c.rules {
				for j := range c.rules[i].expressions {
					if c.rules[i].expressions[j].asksForConnection() {
						return true
					}
				}
			}
		}
	}
	return false
}

func (e *expression) asksForConnection() bool {
	return e.name == "ct" || e.name == "match" && (e.extension == "conntrack" || e.extension == "state")
}
