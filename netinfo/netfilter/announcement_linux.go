package netfilter

import "strings"

// announcesChange reports whether a datagram in which the kernel announces changes
// tells of any but those that a Tracer makes in tables of its own. What can't be read
// may be a change.
func announcesChange(b []byte) bool {
	for len(b) > 0 {
		m, rest, ok := nextMessage(b)
		if !ok {
			return true
		}
		b = rest
		if m.kind == subsystemNFTables<<8|nftNewGen {
			continue // the end of what was announced before it
		}
		_, a, ok := m.attributes()
		if !ok {
			return true
		}
		// All that can change names its table first (NFTA_TABLE_NAME,
		// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …).
		kind, value, ok := a.next()
		if !ok || kind != 1 || !strings.HasPrefix(text(value), TraceTable) {
			return true
		}
	}
	return false
}
