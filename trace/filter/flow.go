package filter

// OfPackets returns the first part of the filter that asks what only a packet has,
// its headers, its link or what became of it; empty when there is none. What is left
// can be asked of a connection as well: protocols, addresses, ports, container,
// network, nat and flow.
func (f *Filter) OfPackets() string {
	if f == nil || f.root == nil {
		return ""
	}
	return ofPackets(f.root)
}

func ofPackets(n node) string {
	switch n := n.(type) {
	case negation:
		return ofPackets(n.of)
	case combination:
		if left := ofPackets(n.left); left != "" {
			return left
		}
		return ofPackets(n.right)
	case prefix, ports, family, protocol, group, container, network, nat, flow, absent:
		return ""
	}
	return n.String()
}
