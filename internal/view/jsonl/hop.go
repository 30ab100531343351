package jsonl

import (
	"strings"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/trace"
)

type hop struct {
	Time           instant  `json:"time"`
	Host           string   `json:"host,omitempty"`
	Clock          int64    `json:"clock,omitempty"`
	Namespace      string   `json:"namespace,omitempty"`
	NamespaceInode uint64   `json:"namespace_inode,omitempty"`
	Interface      string   `json:"interface,omitempty"`
	Ifindex        int32    `json:"ifindex"`
	Direction      string   `json:"direction,omitempty"`
	PacketType     string   `json:"packet_type"`
	Containers     []string `json:"containers"`
	PeerContainers []string `json:"peer_containers"`
	Source         *end     `json:"source,omitempty"`
	Destination    *end     `json:"destination,omitempty"`
	IPID           *uint16  `json:"ip_id,omitempty"`
	ICMP           *icmp    `json:"icmp,omitempty"`
	TCP            *tcp     `json:"tcp,omitempty"`
	TTL            *uint8   `json:"ttl,omitempty"`
	Length         *uint32  `json:"length,omitempty"`
	MAC            *macs    `json:"mac,omitempty"`
	From           *index   `json:"from,omitempty"`
	SameStamp      bool     `json:"same_stamp,omitempty"`
	Part           *part    `json:"part,omitempty"`
	MergedWith     int      `json:"merged_with,omitempty"`
	Quoted         *tuple   `json:"quoted,omitempty"`
}

type icmp struct {
	Type uint8   `json:"type"`
	Code uint8   `json:"code"`
	ID   *uint16 `json:"id,omitempty"`  // echo
	Seq  *uint16 `json:"seq,omitempty"` // echo
}

type tcp struct {
	Seq   uint32 `json:"seq"`
	Ack   uint32 `json:"ack"`
	Flags string `json:"flags"`
}

type macs struct {
	Source      mac `json:"source"`
	Destination mac `json:"destination"`
}

// mac is an Ethernet address.
type mac [6]byte

// MarshalText implements encoding.TextMarshaler.
func (m mac) MarshalText() ([]byte, error) { return m.append(nil), nil }

func (m mac) append(b []byte) []byte {
	const hex = "0123456789abcdef"
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, hex[x>>4], hex[x&0xf])
	}
	return b
}

type part struct {
	Index  int    `json:"index"`
	Of     int    `json:"of"`
	Offset uint32 `json:"offset"`
}

func newHop(h *trace.Hop, i int) hop {
	x := hop{
		Time: instant(h.Time), Host: h.Host, Clock: h.Clock, Namespace: h.Namespace, NamespaceInode: h.Point.Namespace.Inode(),
		Interface: h.Interface, Ifindex: h.Point.Ifindex,
		Direction: way(h.Type, h.Point), PacketType: h.Type.String(), Containers: list(h.Containers), PeerContainers: list(h.PeerContainers),
		SameStamp: h.SameStamp, MergedWith: h.MergedWith, MAC: newMACs(&h.Headers),
	}
	if h.From != i-1 {
		from := index(h.From)
		x.From = &from
	}
	if p := h.Part; p != nil {
		x.Part = &part{Index: p.Index, Of: p.Of, Offset: p.Offset}
	}
	x.headers(&h.Headers)
	return x
}

// headers fills in what the packet says of itself, as far as it does.
func (x *hop) headers(h *packet.Headers) {
	ports := h.Layers.Has(packet.LayerTCP) || h.Layers.Has(packet.LayerUDP)
	x.Source = newEnd(h.Tuple.Source(), h.Tuple.SourcePort, ports)
	x.Destination = newEnd(h.Tuple.Destination(), h.Tuple.DestinationPort, ports)
	if h.IsIP() {
		x.TTL, x.Length = &h.TTL, &h.Length
	}
	if h.Layers.Has(packet.LayerIPv4) {
		x.IPID = &h.IPID
	}
	if h.Layers.Has(packet.LayerICMP) {
		x.ICMP = &icmp{Type: h.ICMPType, Code: h.ICMPCode}
		if h.IsEcho() {
			x.ICMP.ID, x.ICMP.Seq = &h.ICMPID, &h.ICMPSeq
		}
	}
	if h.Layers.Has(packet.LayerTCP) {
		x.TCP = &tcp{Seq: h.TCPSeq, Ack: h.TCPAck, Flags: flagWords(h.TCPFlags)}
	}
	if h.Layers.Has(packet.LayerQuoted) {
		x.Quoted = newTuple(h.Quoted)
	}
}

func newMACs(h *packet.Headers) *macs {
	if !h.Layers.Has(packet.LayerEthernet) {
		return nil
	}
	return &macs{Source: h.SourceMAC, Destination: h.DestinationMAC}
}

// flagWords names TCP flags in the order of their bits, lowest first.
func flagWords(flags uint8) string {
	var words []string
	for i, w := range [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if flags&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, " ")
}

// way is in or out; empty where a file does not tell.
func way(typ capture.PacketType, p capture.Point) string {
	if typ == capture.UnknownType {
		return ""
	}
	return p.Direction.String()
}
