package filter

// alone are words that are no identifiers and qualify none.
var alone = map[string]bool{
	"ether": true, "broadcast": true, "multicast": true, "inbound": true, "outbound": true,
	"less": true, "greater": true, "vlan": true, "len": true, "length": true,
}

// refused are words that pcap-filter(7) has and journeys do not, and words that
// people try, with what to say about them. Taken for containers' names they would
// quietly match nothing.
var refused = map[string]string{
	"gateway": `say "ether host MAC and not host ADDRESS"`,

	"protochain": "natlens looks behind extension headers anyhow, say proto",
	"mask":       `it stands behind "net ADDRESS"`,
	"byte":       "say HEADER[OFFSET], such as ip[8] = 1",
	"ifname":     "for a link say link NAME",
	"ifindex":    "for a link say link NAME",
	"on":         "for a link say link NAME",
	"carp":       "it has vrrp's number, say vrrp",

	"mpls": notIP, "pppoed": notIP, "pppoes": notIP, "geneve": notIP, "llc": notIP,
	"ppp": notEthernet, "slip": notEthernet, "fddi": notEthernet, "tr": notEthernet, "wlan": notEthernet,

	"syn": "say tcp[tcpflags] & tcp-syn != 0", "fin": "say tcp[tcpflags] & tcp-fin != 0",
	"rst": "say tcp[tcpflags] & tcp-rst != 0", "ack": "say tcp[tcpflags] & tcp-ack != 0",

	"snat": "say nat snat", "dnat": "say nat dnat", "redirect": "say nat redirect",
	"masquerade": "say nat masquerade", "netmap": "say nat netmap",
	"delivered": "say verdict delivered", "dropped": "say verdict dropped", "vanished": "say verdict vanished",
	"looped": "say verdict looped", "flooded": "say verdict flooded", "unfinished": "say verdict unfinished",
}

const (
	notIP       = "only IP packets make journeys"
	notEthernet = "for a MAC say ether host MAC"
)
