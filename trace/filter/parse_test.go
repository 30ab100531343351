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
		{"1+1=2", "2 = 2"},
		{"port 80 or 443 and len > 9 or udp", "port 80 or port 443 and len > 9 or udp"},
		// Protocols by number, Ethernet.
		{"proto 6", "tcp"},
		{`ip proto \udp`, "ip proto 17"},
		{"ip proto icmp or 47", "icmp or ip proto 47"},
		{"ip6 proto 58", "icmp6"},
		{"proto 47", "proto 47"},
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
		f, err := Parse(tt.expr, names)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.expr, err)
			continue
		}
		if got := f.String(); got != tt.want {
			t.Errorf("Parse(%q) = %q, want %q", tt.expr, got, tt.want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct {
		expr    string
		at      string // marks under the expression
		message string
	}{
		{
			"tcp port htp",
			"         ^^^",
			`port needs a number or a service name, got "htp"`,
		}, {
			"port 65536",
			"     ^^^^^",
			`port needs a number or a service name, got "65536"`,
		}, {
			"port",
			"    ^",
			`port needs a number or a service name`,
		}, {
			"port 80-90",
			"     ^^^^^",
			`for several ports say portrange 80-90`,
		}, {
			"port tcp",
			"     ^^^",
			`port needs a number or a service name, got "tcp"`,
		}, {
			"portrange 80-",
			"          ^^^",
			`portrange needs two ports such as 8000-8080, got "80-"`,
		}, {
			"icmp host 10.0.0.1",
			"     ^^^^",
			`put "and" between icmp and host`,
		}, {
			"tcp back",
			"    ^^^^",
			`put "and" or "or" before "back"`,
		}, {
			"host 10.0.0.1 port 80",
			"              ^^^^",
			`put "and" or "or" before "port"`,
		}, {
			"tcp (udp)",
			"    ^",
			`put "and" or "or" before (`,
		}, {
			"tcp not udp",
			"    ^^^",
			`put "and" or "or" before "not"`,
		}, {
			"tcp & udp",
			"    ^",
			`write &&`,
		}, {
			"tcp and ",
			"       ^",
			`the expression ends where a host, port, container or protocol is expected`,
		}, {
			"tcp and or udp",
			"        ^^",
			`something is missing before "or"`,
		}, {
			"(tcp or udp",
			"^",
			`this ( is never closed`,
		}, {
			"tcp)",
			"   ^",
			`there is no ( for this )`,
		}, {
			"tcp and ()",
			"         ^",
			`something is missing before )`,
		}, {
			"host back2",
			"     ^^^^^",
			`host needs an address, got "back2"; for a container say container back2`,
		}, {
			"host 10.1",
			"     ^^^^",
			`host needs a whole address, got "10.1"; for a network say net 10.1`,
		}, {
			"host 10.0.0.0/8",
			"     ^^^^^^^^^^",
			`host needs an address; for a network say net 10.0.0.0/8`,
		}, {
			"host fe80::1%eth0",
			"     ^^^^^^^^^^^^",
			`host needs an address without a zone: host fe80::1`,
		}, {
			"net back",
			"    ^^^^",
			`net needs a network such as 172.17.0.0/16, got "back"; for an engine's network say network back`,
		}, {
			"net 10.0.0.0/33",
			"    ^^^^^^^^^^^",
			`the length of this network must be a number from 0 to 32, got "33"`,
		}, {
			"net 10.0.0.1/8",
			"    ^^^^^^^^^^",
			`10.0.0.1/8 has bits beyond its length; say net 10.0.0.0/8`,
		}, {
			"net 10.0.0.0 mask 255.0.255.0",
			"                  ^^^^^^^^^^^",
			`the ones in a mask must come first; got 255.0.255.0`,
		}, {
			"80",
			"^^",
			`for a port say port 80, for a network net 80`,
		}, {
			"172.17",
			"^^^^^^",
			`"172.17" is not a whole address; for a network say net 172.17`,
		}, {
			"10.0.0.1:80",
			"^^^^^^^^^^^",
			`for an address and its port say host 10.0.0.1 and port 80`,
		}, {
			"10.0.0.1:99999",
			"^^^^^^^^^^^^^^",
			`for an address and its port say host 10.0.0.1 and port PORT`,
		}, {
			"172.17.0.0/16",
			"^^^^^^^^^^^^^",
			`for a network say net 172.17.0.0/16`,
		}, {
			"arp",
			"^^^",
			`"arp" is not in this language: it makes no journeys, see it with --events; for a container of that name say container arp`,
		}, {
			"src",
			"   ^",
			`src needs a container's name or an address`,
		}, {
			"src tcp port 80",
			"    ^^^",
			`src needs a container's name or an address, got "tcp"`,
		}, {
			"container",
			"         ^",
			`container needs a name`,
		}, {
			"udp src 10.0.0.1",
			"    ^^^",
			`put "and" between udp and src`,
		}, {
			"ip6 port 80",
			"    ^^^^",
			`put "and" between ip6 and port`,
		}, {
			"icmp port 80",
			"          ^^",
			`icmp has no ports`,
		}, {
			"tcp host 10.0.0.1",
			"    ^^^^",
			`put "and" between tcp and host`,
		}, {
			"ip host fd00::1",
			"        ^^^^^^^",
			`fd00::1 is not an ip address`,
		}, {
			"ip6 net 10",
			"        ^^",
			`10 is not an ip6 address`,
		}, {
			"vrrp or carp",
			"        ^^^^",
			`"carp" is not in this language: it has vrrp's number, say vrrp; for a container of that name say container carp`,
		}, {
			"syn",
			"^^^",
			`"syn" is not in this language: say tcp[tcpflags] & tcp-syn != 0; for a container of that name say container syn`,
		}, {
			"back and dropped",
			"         ^^^^^^^",
			`"dropped" is not in this language: say verdict dropped; for a container of that name say container dropped`,
		}, {
			"ip protochain 6",
			"   ^^^^^^^^^^",
			`"protochain" is not in this language: natlens looks behind extension headers anyhow, say proto; ` +
				`for a container of that name say container protochain`,
		}, {
			"protochain",
			"^^^^^^^^^^",
			`"protochain" is not in this language: natlens looks behind extension headers anyhow, say proto; ` +
				`for a container of that name say container protochain`,
		}, {
			"len",
			"^^^",
			`len needs a comparison, such as len > 100`,
		}, {
			"tcp and tcp-syn",
			"        ^^^^^^^",
			`tcp-syn needs a comparison, such as tcp[tcpflags] & tcp-syn != 0`,
		}, {
			"(tcp[13] & 2) and udp",
			" ^^^",
			`tcp[13] & 2 needs a comparison, such as tcp[13] & 2 != 0`,
		}, {
			"tcp[13] = x",
			"          ^",
			`a number, len or a header's field such as tcp[13] is expected here`,
		}, {
			"tcp[12] & 0xf0 > 0x50",
			"^^^^^^^",
			"journeys keep no more of this header than ports tcp[0:2] and tcp[2:2], sequence tcp[4:4], " +
				"acknowledgement tcp[8:4], flags tcp[tcpflags], window tcp[14:2]",
		}, {
			"ip6[40] = 128",
			"^^^^^^^",
			"journeys keep no more of this header than payload length ip6[4:2], hop limit ip6[7], addresses from ip6[8]; " +
				"for the protocol say ip6 proto",
		}, {
			"arp[6:2] = 1",
			"^^^",
			`journeys keep bytes of ether, ip, ip6, tcp, udp, sctp, icmp, icmp6 only`,
		}, {
			"tcp[tcpflags & 2",
			"                ^",
			`a ] is missing here`,
		}, {
			"tcp[len] = 1",
			"    ^^^",
			`a number is expected in [ ], such as tcp[0]`,
		}, {
			"tcp[4:3] = 1",
			"      ^",
			`a size is 1, 2 or 4 bytes`,
		}, {
			"len / 0 = 1",
			"        ^",
			`before this something is divided by 0`,
		}, {
			"tcp and len > (5 + back)",
			"              ^",
			`a number, len or a header's field such as tcp[13] is expected here`,
		}, {
			"len << 32 = 1",
			"          ^",
			`before this something is shifted by more than the 31 bits that a number can be`,
		}, {
			"len + 7 % 4 = 1",
			"        ^",
			`put parentheses around what ^ and % are about`,
		}, {
			"len % 4 + 1 = 1",
			"        ^",
			`put parentheses around what ^ and % are about`,
		}, {
			"len > 5:3",
			"       ^^",
			`put "and" or "or" before ":3"`,
		}, {
			"tcp[13] = 2 udp",
			"            ^^^",
			`put "and" or "or" before "udp"`,
		}, {
			"less",
			"    ^",
			`less needs a length in bytes`,
		}, {
			"vlan 4096",
			"     ^^^^",
			`vlan needs an id from 0 to 4095, got "4096"`,
		}, {
			"vlan 5 and tcp and vlan 6",
			"                   ^^^^",
			`of several tags only the outermost is known: say vlan once`,
		}, {
			"ip broadcast",
			"   ^^^^^^^^^",
			`the networks' masks are not looked at: say broadcast, or dst host ADDRESS`,
		}, {
			"ether 02:42:ac:11:00:02",
			"      ^^^^^^^^^^^^^^^^^",
			`ether needs host, src, dst, proto, broadcast or multicast, got "02:42:ac:11:00:02"`,
		}, {
			"ether host back",
			"           ^^^^",
			`ether needs a MAC such as 02:42:ac:11:00:02, got "back"`,
		}, {
			"ether proto 0x0806",
			"            ^^^^^^",
			`only IP packets make journeys: say ether proto ip or ip6`,
		}, {
			"proto 256",
			"      ^^^",
			`proto needs a protocol's number or name, got "256"`,
		}, {
			"ip6 proto 44",
			"          ^^",
			`natlens looks behind fragment headers: say ip6 proto and what follows them`,
		}, {
			"src proto 6",
			"^^^",
			`proto has neither src nor dst`,
		}, {
			"dst nat",
			"^^^",
			`nat has neither src nor dst`,
		}, {
			"tcp nat",
			"    ^^^",
			`put "and" between tcp and nat`,
		}, {
			"nat proxy",
			"    ^^^^^",
			`nat needs snat, dnat, redirect, masquerade or netmap, got "proxy"`,
		}, {
			"masquerade",
			"^^^^^^^^^^",
			`"masquerade" is not in this language: say nat masquerade; for a container of that name say container masquerade`,
		}, {
			"verdict drop",
			"        ^^^^",
			`verdict needs delivered, left, dropped, vanished, flooded, looped or unfinished, got "drop"`,
		}, {
			"flow back",
			"     ^^^^",
			`flow needs a conntrack id such as 3047873481, got "back"`,
		}, {
			"link veth1234@if5",
			"     ^^^^^^^^^^^^",
			`what stands behind @ is no part of a link's name: say link veth1234`,
		}, {
			"network",
			"       ^",
			`network needs a name`,
		}, {
			"vrrp port 80",
			"          ^^",
			`vrrp has no ports`,
		}, {
			"dst ü and",
			"         ^",
			`the expression ends where a host, port, container or protocol is expected`,
		},
	} {
		_, err := Parse(tt.expr, names)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("Parse(%q): error %v, want a *SyntaxError", tt.expr, err)
			continue
		}
		if syntax.Message != tt.message {
			t.Errorf("Parse(%q):\n%s\nwant\n%s", tt.expr, syntax.Message, tt.message)
		}
		if got, want := syntax.Picture(), tt.expr+"\n"+tt.at; got != want {
			t.Errorf("Parse(%q):\n%s\nwant\n%s", tt.expr, got, want)
		}
		if want := "filter: " + tt.message; err.Error() != want {
			t.Errorf("Parse(%q): %q, want %q", tt.expr, err.Error(), want)
		}
	}
}

func TestPictureIsTwoLines(t *testing.T) {
	_, err := Parse("tcp\nport\thtp\x1b[31m", nil)
	var syntax *SyntaxError
	if !errors.As(err, &syntax) {
		t.Fatalf("error %v", err)
	}
	if got, want := syntax.Picture(), "tcp port htp [31m\n         ^^^^^^^^"; got != want {
		t.Errorf("%q, want %q", got, want)
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
