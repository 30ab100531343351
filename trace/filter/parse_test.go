package filter

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ expr, want string }{
		{"tcp", "tcp"},
		{"  ", ""},
		{"host 10.0.0.1", "host 10.0.0.1"},
		{"10.0.0.1", "host 10.0.0.1"},
		{"::1", "host ::1"},
		{"::ffff:10.0.0.1", "host 10.0.0.1"},
		{"back", "container back"},
		{"later", "container later"},
		{"9d74845b", "container back"}, // the beginning of its id
		{"container 1234 or 9d74845b", "container back or container back"},
		{"src 1234", "src container back"},
		{"web_1.x-y", "container web_1.x-y"},
		{"container tcp", "container tcp"},
		{"container 10.0.0.1", "container 10.0.0.1"},
		{"mpls", "container mpls"}, // a known container
		{"container greater", "container greater"},
		{"src 10.0.0.1", "src host 10.0.0.1"},
		{"src back", "src container back"},
		{"src or dst 10.0.0.1", "host 10.0.0.1"},
		{"dst or src host 10.0.0.1", "host 10.0.0.1"},
		{"src and dst net 10.0.0.0/8", "src and dst net 10.0.0.0/8"},
		{"dst && src port 53", "src and dst port 53"},
		{"net 10.1", "net 10.1.0.0/16"},
		{"net 10", "net 10.0.0.0/8"},
		{"net 10/8", "net 10.0.0.0/8"},
		{"net 10.1.2.3", "net 10.1.2.3/32"},
		{"net 10.1.0.0 mask 255.255.0.0", "net 10.1.0.0/16"},
		{"net fd00::/8", "net fd00::/8"},
		{"port 80", "port 80"},
		{"port http or https", "port 80 or port 443"},
		{"portrange 8000-8080", "portrange 8000-8080"},
		{"portrange 8080-8000", "portrange 8000-8080"},
		{"portrange http-http-alt", "portrange 80-8080"},
		{"portrange 80", "port 80"},
		{"tcp port 80 or 443", "tcp port 80 or tcp port 443"},
		{"udp src port 53", "udp src port 53"},
		{"ip host 10.0.0.1", "ip and host 10.0.0.1"},
		{"ip6 src container back", "ip6 and src container back"},
		// Comparisons.
		{"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] & 3 != 0"},
		{"tcp[13]&2!=0", "tcp[13] & 2 != 0"},
		{"tcp [ 13 ] == 0x12", "tcp[13] = 18"},
		{"icmp[icmptype] == icmp-echo", "icmp[0] = 8"},
		{"icmp6[icmp6type] = icmp6-packettoobig or icmp6[1]>0", "icmp6[0] = 2 or icmp6[1] > 0"},
		{"ip[2:2] + 14 > len - 4 * 2", "ip[2:2] + 14 > len - 8"},
		{"ip[8] - (ip[9] - ip[1]) = 1", "ip[8] - (ip[9] - ip[1]) = 1"},
		{"ip[8] - ip[9] - ip[1] = 1", "(ip[8] - ip[9]) - ip[1] = 1"},
		{"- ip[8] = 017", "0 - ip[8] = 15"},
		{"(tcp[13] & 2) != 0 and tcp", "tcp[13] & 2 != 0 and tcp"},
		{"(tcp[13] & 2 != 0) and tcp", "tcp[13] & 2 != 0 and tcp"},
		{"((len)) > 100&&tcp", "len > 100 and tcp"},
		{"!len>100", "not len > 100"},
		{"less 100", "len <= 100"},
		{"greater 0x40", "len >= 64"},
		{"tcp[(1+12)*1] = 2", "tcp[13] = 2"},
		{"tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420", "tcp[(tcp[12] & 240) >> 2:4] = 1195725856"},
		{"udp[len - 40:2] > ip6[40]", "udp[len - 40:2] > ip6[40]"},
		{"1+1=2", "2 = 2"},
		{"port 80 or 443 and len > 9 or udp", "port 80 or port 443 and len > 9 or udp"},
		// Protocols by number, Ethernet.
		{"proto 6", "tcp"},
		{`ip proto \udp`, "ip proto 17"},
		{"ip proto icmp or 47", "icmp or ip proto 47"},
		{"ip6 proto 58", "icmp6"},
		{"proto 47", "proto 47"},
		{`proto gre or ip proto \ospf`, "proto 47 or ip proto 89"},
		{"ip6 proto ipv6-icmp", "icmp6"},
		// What makes no journeys, left out or beside others.
		{"not arp and not stp", "not arp and not stp"},
		{"arp or icmp", "arp or icmp"},
		{"tcp and not (arp or igmp)", "tcp and not (arp or igmp)"},
		{`not ether proto \arp and not ether proto 0x88cc`, "not arp and not ether proto 0x88cc"},
		{"not proto 2", "not proto 2"},
		{"icmp6[icmp6type] != icmp6-neighborsolicit", "icmp6[0] != 135"},
		// Names that Docker allows.
		{"some.host_1-x", "container some.host_1-x"},
		{"tcp.example.com", "container tcp.example.com"},
		{"container #22", "container #22"},
		{"container http or https", "container http or container https"},
		{"ether host 02:42:AC:11:00:02", "ether host 02:42:ac:11:00:02"},
		{"ether src 02-42-ac-11-00-02 or 02:42:ac:11:00:03", "ether src host 02:42:ac:11:00:02 or ether src host 02:42:ac:11:00:03"},
		{"ether broadcast or ether multicast", "broadcast or multicast"},
		{`ether proto \ip or ether proto 0x86dd`, "ip or ip6"},
		{"ip multicast or ip6 multicast", "ip multicast or ip6 multicast"},
		{"vlan or vlan 5 and ip", "vlan or vlan 5 and ip"},
		{"inbound or outbound", "inbound or outbound"},
		// Of journeys.
		{"network back_net or tcp", "network back_net or tcp"},
		{"src network back_net or proxy_net", "src network back_net or src network proxy_net"},
		{"network tcp", "network tcp"},
		{"ip6 network a", "ip6 and network a"},
		{"link eth0 or back:eth0", "link eth0 or link back:eth0"},
		{"link eth0 or 10.0.0.1", "link eth0 or host 10.0.0.1"},
		{"src network back_net or fd00::1", "src network back_net or src host fd00::1"},
		{"link net:[4026532001]:eth0", "link net:[4026532001]:eth0"},
		{"nat", "nat"},
		{"nat and tcp", "nat and tcp"},
		{"not nat", "not nat"},
		{"(nat)", "nat"},
		{"nat snat or masquerade", "nat snat or nat masquerade"},
		{"nat (dnat or redirect)", "nat dnat or nat redirect"},
		{"nat MASQUERADE or Redirect", "nat masquerade or nat redirect"}, // as it stands on the screen
		{"nat not netmap", "not nat netmap"},
		{"nat or back", "nat or container back"},
		{"verdict dropped or vanished", "verdict dropped or verdict vanished"},
		{"verdict not delivered", "not verdict delivered"},
		{"flow 3047873481", "flow 3047873481"},
		{"container (nat or flow)", "container nat or container flow"},
		// What identifiers inherit.
		{"host 10.0.0.1 or 10.0.0.2", "host 10.0.0.1 or host 10.0.0.2"},
		{"src host 10.0.0.1 or 10.0.0.2", "src host 10.0.0.1 or src host 10.0.0.2"},
		{"src 10.0.0.1 or 10.0.0.2", "src host 10.0.0.1 or src host 10.0.0.2"},
		{"port 80 or (81 or 82)", "port 80 or (port 81 or port 82)"},
		{"port (80 or 81) and not 82", "port 80 or port 81 and not port 82"},
		{"port not 80", "not port 80"},
		{"(port 80) or 81", "port 80 or port 81"},
		{"not port 80 and 81", "not port 80 and port 81"},
		{"container back or later", "container back or container later"},
		{"host 10.0.0.1 or back", "host 10.0.0.1 or container back"},
		{"host 10.0.0.1 or later", "host 10.0.0.1 or container later"},
		{"src container back or 10.0.0.1", "src container back or src host 10.0.0.1"},
		{"icmp and back", "icmp and container back"},
		{"icmp and 10.0.0.1", "icmp and host 10.0.0.1"},
		{"port 80 and tcp or back", "port 80 and tcp or container back"},
		{"port 80 and tcp or 10.0.0.1", "port 80 and tcp or host 10.0.0.1"},
		{"back and port 80", "container back and port 80"},
		// Precedence.
		{"tcp or udp and icmp", "tcp or udp and icmp"},
		{"tcp or (udp and icmp)", "tcp or (udp and icmp)"},
		{"(tcp or udp) and icmp", "tcp or udp and icmp"},
		{"not tcp and udp", "not tcp and udp"},
		{"not (tcp and udp)", "not (tcp and udp)"},
		{"! tcp || !udp&&!!icmp", "not tcp or not udp and not not icmp"},
		{"not ip host 10.0.0.1", "not (ip and host 10.0.0.1)"},
		{"tcp&&(udp)", "tcp and udp"},
	} {
		f, err := parse(tt.expr, names)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.expr, err)
			continue
		}
		if got := f.String(); got != tt.want {
			t.Errorf("Parse(%q) = %q, want %q", tt.expr, got, tt.want)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	for _, part := range []string{"(", "not ", "port (", "!"} {
		_, err := Parse(strings.Repeat(part, 100000)+"tcp", nil)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s…: error %v", part, err)
		}
	}
	if _, err := Parse(strings.Repeat("(", 100)+"tcp"+strings.Repeat(")", 100), nil); err != nil {
		t.Error(err)
	}
	// Only depth counts, not how much there is.
	if _, err := Parse("tcp"+strings.Repeat(" or not (udp)", 1000), nil); err != nil {
		t.Error(err)
	}
}

// FuzzParse holds that what is accepted can be written out and read again, and
// that an error points into the expression.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"tcp port 80 or 443", "not (host 10.0.0.1 or back)", "src or dst net 10.1", "ip6 and !icmp6 && portrange 1-2",
		"container x and dst ::1", "port (80 or not 81)", "net 10.0.0.0 mask 255.0.0.0", "host", "((", "\x00|",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		filter, err := Parse(expr, names)
		var syntax *SyntaxError
		switch {
		case err == nil:
			again, err := Parse(filter.String(), names)
			if err != nil {
				t.Fatalf("%q was accepted as %q, which is not: %v", expr, filter, err)
			}
			if again.String() != filter.String() {
				t.Fatalf("%q became %q, then %q", expr, filter, again)
			}
			filter.Match(masqueraded())
			filter.Match(unseen())
			filter.Protocols()
		case !errors.As(err, &syntax):
			t.Fatalf("%q: %v is no *SyntaxError", expr, err)
		case syntax.Offset < 0 || syntax.Length < 0 || syntax.Offset+syntax.Length > len(expr):
			t.Fatalf("%q: error at %d, %d bytes", expr, syntax.Offset, syntax.Length)
		default:
			if strings.Count(syntax.Picture(), "\n") != 1 || strings.Contains(syntax.Error(), "\n") {
				t.Fatalf("%q: %q, %q", expr, syntax.Picture(), syntax.Error())
			}
		}
	})
}
