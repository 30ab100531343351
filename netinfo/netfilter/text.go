package netfilter

// describe sets the rule's backend and its text.
func (r *rule) describe(t *table) {
	r.ref.Backend = NFTables
	if t.xtables && !r.native() {
		r.ref.Backend = IPTablesNFT
		r.ref.Text = iptablesText(r)
		return
	}
	r.ref.Text = nftText(r, t)
}

// native reports whether a rule in a table of iptables has something that
// iptables never makes, because nft put it there.
func (r *rule) native() bool {
	for i := range r.expressions {
		switch r.expressions[i].name {
		case "nat", "masq", "redir", "fib", "lookup", "ct", "objref":
			return true
		}
	}
	return false
}
