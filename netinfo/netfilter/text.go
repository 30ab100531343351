package netfilter

// describe sets the rule's backend and its text.
// links are names by index.
func (r *rule) describe(key tableKey, t *table, links map[int32]string) {
	switch {
	case key.legacy:
		r.ref.Backend, r.ref.Text = IPTablesLegacy, iptablesText(r)
	case t.xtables && !r.native():
		r.ref.Backend, r.ref.Text = IPTablesNFT, iptablesText(r)
	default:
		r.ref.Backend, r.ref.Text = NFTables, nftText(r, t, links)
	}
}

// native reports whether a rule in a table of iptables has something that
// iptables never makes, because nft put it there.
func (r *rule) native() bool {
	for i := range r.expressions {
		switch r.expressions[i].name {
		case "nat", "masq", "redir", "fib", "lookup", "ct", "objref", "reject", "notrack":
			return true
		}
	}
	return false
}
