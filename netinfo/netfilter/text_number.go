package netfilter

import (
	"encoding/binary"
	"strconv"
)

// numberNames are nft's words for fields whose values are plain numbers.
var numberNames = map[fieldKind]string{
	socketUser: "meta skuid", socketGroup: "meta skgid", controlGroup: "meta cgroup", linkGroupIn: "iifgroup", linkGroupOut: "oifgroup",
	ipLength: "ip length", ipID: "ip id", udpLength: "udp length",
}

// metaNumbers are the kinds of what meta loads as a number of the machine's own
// byte order.
var metaNumbers = map[uint32]fieldKind{
	metaSocketUser: socketUser, metaSocketGroup: socketGroup, metaCgroup: controlGroup, metaGroupIn: linkGroupIn, metaGroupOut: linkGroupOut,
}

// numberName returns nft's words for a field that is a number.
func (w *nftWriter) numberName(f field) (name string, ok bool) {
	name = numberNames[f.kind]
	return name, name != "" && (f.kind != udpLength || w.protocol == "udp")
}

// numberValue writes the value of such a field.
func numberValue(f field, b []byte) (string, bool) {
	switch f.kind {
	case ipLength, ipID, udpLength:
		if len(b) == 2 {
			return strconv.Itoa(int(binary.BigEndian.Uint16(b))), true
		}
	case linkGroupIn, linkGroupOut:
		v, ok := nativeMark(b)
		return strconv.FormatUint(uint64(v), 10), ok && v != 0 // 0 has a name
	case socketUser, socketGroup, controlGroup:
		v, ok := nativeMark(b)
		return strconv.FormatUint(uint64(v), 10), ok
	}
	return "", false
}
