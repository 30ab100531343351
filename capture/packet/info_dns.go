package packet

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/gopacket/layers"
)

const (
	// maxDNSMessage bounds what is decoded: names may point to names, so that
	// a long message can hold far more text than bytes.
	maxDNSMessage = 1024
	maxDNSName    = 255 // RFC 1035, section 2.3.4
	maxDNSAnswers = 3
)

// dnsInfo describes a datagram of the domain name system or its multicast form;
// empty when it is none.
func (h *Headers) dnsInfo(data []byte) string {
	name := "DNS"
	switch t := h.Tuple; {
	case t.SourcePort == DNSPort, t.DestinationPort == DNSPort:
	case t.SourcePort == 5353 && t.DestinationPort == 5353:
		name = "mDNS"
	case t.Source() == DockerResolver, t.Destination() == DockerResolver:
	default:
		return ""
	}
	payload := boundedDNS(h.Payload(data))
	var dns layers.DNS
	// A cut off message fails, and what was decoded before counts.
	err := decode(&dns, payload)
	if len(dns.Questions) == 0 && (err != nil || len(dns.Answers) == 0) {
		return ""
	}
	if dns.QR {
		return name + " " + answerInfo(&dns)
	}
	if len(dns.Questions) == 0 {
		return ""
	}
	q := dns.Questions[0]
	info := fmt.Sprintf("%s %s? %s", name, dnsType(q.Type), dnsName(q.Name))
	if more := len(dns.Questions) - 1; more > 0 {
		info += fmt.Sprintf(" and %d more", more)
	}
	return info
}

// answerInfo describes a response: its code, or the question and the answers to
// it.
func answerInfo(dns *layers.DNS) string {
	if dns.ResponseCode != layers.DNSResponseCodeNoErr {
		about := ""
		if len(dns.Questions) > 0 {
			about = " " + dnsName(dns.Questions[0].Name)
		}
		return dnsCode(dns.ResponseCode) + about
	}
	var b strings.Builder
	var typ layers.DNSType
	if len(dns.Questions) > 0 {
		q := dns.Questions[0]
		typ = q.Type
		b.WriteString(dnsType(typ) + " " + dnsName(q.Name))
	} else { // as multicast DNS answers
		typ = dns.Answers[0].Type
		b.WriteString(dnsType(typ) + " " + dnsName(dns.Answers[0].Name))
	}
	if dns.ANCount == 0 {
		b.WriteString(" has none")
		return b.String()
	}
	shown, total := 0, int(dns.ANCount)
	for _, a := range dns.Answers {
		if a.Type != typ {
			total-- // an alias on the way to the answer
			continue
		}
		if value := answerValue(&a); value != "" && shown < maxDNSAnswers {
			b.WriteString(" " + value)
			shown++
		}
	}
	switch more := total - shown; {
	case more > 0 && shown > 0:
		fmt.Fprintf(&b, " and %d more", more)
	case more == 1:
		b.WriteString(", 1 answer")
	case more > 0:
		fmt.Fprintf(&b, ", %d answers", more)
	}
	return b.String()
}

// answerValue returns what the record says, for the types a person reads.
func answerValue(a *layers.DNSResourceRecord) string {
	switch a.Type {
	case layers.DNSTypeA, layers.DNSTypeAAAA:
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			return ip.String()
		}
	case layers.DNSTypePTR:
		return dnsName(a.PTR)
	case layers.DNSTypeCNAME:
		return dnsName(a.CNAME)
	case layers.DNSTypeNS:
		return dnsName(a.NS)
	}
	return ""
}

func dnsType(t layers.DNSType) string {
	const svcb, https, any = 64, 65, 255
	switch t {
	case svcb:
		return "SVCB"
	case https:
		return "HTTPS"
	case any:
		return "ANY"
	}
	if s := t.String(); s != "Unknown" {
		return s
	}
	return fmt.Sprintf("TYPE%d", uint16(t)) // RFC 3597
}

// dnsCode returns the mnemonic of a response code (IANA "DNS RCODEs").
func dnsCode(c layers.DNSResponseCode) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("RCODE%d", uint8(c))
}

// dnsName returns the name in RFC 4343's presentation form, where every byte
// that is not a visible ASCII character is a backslash and three digits.
func dnsName(name []byte) string {
	if len(name) == 0 {
		return "."
	}
	cut := len(name) > maxDNSName
	if cut {
		name = name[:maxDNSName]
	}
	var b strings.Builder
	for _, c := range name {
		switch {
		case c == '\\':
			b.WriteString(`\\`)
		case c <= ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	if cut {
		b.WriteString("...")
	}
	return b.String()
}
