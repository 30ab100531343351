package packet

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Info says in a few words what a packet is, for a person: "echo request 7",
// "SYN win 64240 mss 1460", "DNS A? back". Whatever it takes from the packet is
// escaped: the line holds printable ASCII only. data need not hold the whole
// packet; of a super-packet without a length of its own, Headers.Info knows the
// size and Info does not.
func Info(link LinkType, data []byte) string {
	var h Headers
	h.Parse(link, data, uint32(len(data)))
	if claimed := uint64(h.NetworkOffset) + uint64(h.Length); h.IsIP() && claimed > uint64(len(data)) {
		h.Parse(link, data, uint32(claimed)) // cut off rather than malformed
	}
	return h.Info(data)
}

// Info is the function Info for a packet that is parsed already, from data.
func (h *Headers) Info(data []byte) string {
	words := make([]string, 0, 3)
	switch {
	case h.Layers.Has(LayerARP):
		words = append(words, h.arpInfo(data))
	case !h.IsIP():
		words = append(words, h.linkInfo())
	case h.FragmentOffset == 0:
		words = append(words, h.transportInfo(data))
	}
	if h.Layers.Has(LayerFragment) {
		words = append(words, "fragment at "+strconv.Itoa(int(h.FragmentOffset)))
		if h.MoreFragments {
			words = append(words, "more")
		}
	}
	if h.Layers.Has(Malformed) {
		words = append(words, "malformed")
	}
	return strings.Join(words, ", ")
}

func (h *Headers) linkInfo() string {
	switch {
	case h.Layers.Has(Truncated):
		return "cut off before its headers end"
	case h.EtherType == 0:
		return "not IP"
	case h.EtherType < 0x600:
		return "IEEE 802.3 frame"
	case h.EtherType == etherTypeIPv4:
		return "IPv4"
	case h.EtherType == etherTypeIPv6:
		return "IPv6"
	}
	return fmt.Sprintf("EtherType 0x%04x", h.EtherType)
}

func (h *Headers) arpInfo(data []byte) string {
	if !h.Tuple.Valid() {
		return fmt.Sprintf("ARP operation %d", h.ARPOperation)
	}
	switch h.ARPOperation {
	case layers.ARPRequest:
		return fmt.Sprintf("ARP who-has %s tell %s", h.Tuple.Destination(), h.Tuple.Source())
	case layers.ARPReply:
		var arp layers.ARP
		if decode(&arp, data[h.NetworkOffset:]) == nil && len(arp.SourceHwAddress) == 6 {
			return fmt.Sprintf("ARP %s is-at %s", h.Tuple.Source(), macString(arp.SourceHwAddress))
		}
	}
	return fmt.Sprintf("ARP operation %d, %s to %s", h.ARPOperation, h.Tuple.Source(), h.Tuple.Destination())
}

func macString(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// DatagramLength is how many bytes a UDP datagram carries. Its first fragment
// holds the fewest of them, but tells the length of all (RFC 768).
func (h *Headers) DatagramLength(data []byte) uint32 {
	const header = 8
	at := int(h.TransportOffset) + 4
	if !h.Layers.Has(LayerFragment) || at+2 > len(data) {
		return h.PayloadLength
	}
	return max(uint32(binary.BigEndian.Uint16(data[at:])), header) - header
}

func (h *Headers) transportInfo(data []byte) string {
	switch {
	case h.Layers.Has(LayerICMP):
		return h.icmpInfo(data)
	case h.Layers.Has(LayerTCP):
		return h.tcpInfo(data)
	case h.Layers.Has(LayerUDP):
		if info := h.dnsInfo(data); info != "" {
			return info
		}
		return fmt.Sprintf("%d B", h.DatagramLength(data))
	}
	p := h.Tuple.Protocol
	switch p {
	case nextHopByHop, nextRouting, nextFragment, nextDestination:
		if h.Layers.Has(LayerIPv6) {
			return "IPv6 extension headers"
		}
	case TCP, UDP, ICMP, ICMPv6:
		if h.Layers.Has(Truncated) {
			return strings.ToUpper(p.String()) + " header cut off"
		}
	}
	if name := layers.IPProtocol(p).String(); name != "" && name != "UnknownIPProtocol" {
		return fmt.Sprintf("%s %d B", name, h.PayloadLength)
	}
	return fmt.Sprintf("protocol %d, %d B", uint8(p), h.PayloadLength)
}

// tcpFlags names the flags in the order people say them: "SYN ACK", "PSH ACK".
var tcpFlags = [...]struct {
	flag uint8
	name string
}{{SYN, "SYN"}, {FIN, "FIN"}, {RST, "RST"}, {PSH, "PSH"}, {URG, "URG"}, {ACK, "ACK"}, {ECE, "ECE"}, {CWR, "CWR"}}

func (h *Headers) tcpInfo(data []byte) string {
	var b strings.Builder
	for _, f := range tcpFlags {
		if h.TCPFlags&f.flag != 0 {
			b.WriteString(f.name)
			b.WriteByte(' ')
		}
	}
	if b.Len() == 0 {
		b.WriteString("no flags ")
	}
	if h.TCPFlags&SYN != 0 {
		fmt.Fprintf(&b, "win %d ", h.TCPWindow)
		if mss, ok := h.tcpMSS(data); ok {
			fmt.Fprintf(&b, "mss %d ", mss)
		}
	}
	if h.PayloadLength > 0 {
		fmt.Fprintf(&b, "%d B ", h.PayloadLength)
	}
	return strings.TrimSuffix(b.String(), " ")
}

// tcpMSS returns the option of RFC 9293, section 3.7.1.
func (h *Headers) tcpMSS(data []byte) (uint16, bool) {
	var tcp layers.TCP
	// What was decoded before an error counts: the options come in order.
	_ = decode(&tcp, data[h.TransportOffset:])
	for _, o := range tcp.Options {
		if o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2 {
			return uint16(o.OptionData[0])<<8 | uint16(o.OptionData[1]), true
		}
	}
	return 0, false
}

// decode fills in l. Some decoders of gopacket index beyond malformed data;
// that is an error like any other here.
func decode(l gopacket.DecodingLayer, data []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("decode %v: %v", l.CanDecode(), r)
		}
	}()
	return l.DecodeFromBytes(data, gopacket.NilDecodeFeedback)
}
