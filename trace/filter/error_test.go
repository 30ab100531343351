package filter

import (
	"errors"
	"testing"
)

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
			`arp makes no journeys: see it with --events; for a container of that name say container arp`,
		}, {
			"arp host 10.0.0.1",
			"^^^",
			`arp makes no journeys: see it with --events; for a container of that name say container arp`,
		}, {
			"tcp and not (udp or not arp)",
			"                        ^^^",
			`arp makes no journeys: see it with --events; for a container of that name say container arp`,
		}, {
			"stp or rarp",
			"^^^",
			`stp makes no journeys; for a container of that name say container stp`,
		}, {
			"port 80 and igmp or proto 2",
			"            ^^^^",
			`igmp makes no journeys: see it with --events`,
		}, {
			"proto (2 or igmp)",
			"^^^^^^^^^^^^^^^^^",
			`proto (2 or igmp) makes no journeys: see it with --events`,
		}, {
			"icmp6[icmp6type]==icmp6-neighborsolicit and ip6",
			"^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
			`icmp6[icmp6type]==icmp6-neighborsolicit makes no journeys: see it with --events`,
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
			"arp[6:2] = 1",
			"^^^",
			`only bytes of ether, ip, ip6, tcp, udp, sctp, icmp, icmp6 can be asked for`,
		}, {
			"tcp[tcpflags & 2",
			"                ^",
			`a ] is missing here`,
		}, {
			"tcp[back] = 1",
			"    ^^^^",
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
			"^^^^^^^^^^^^^^^^^^",
			`ether proto 0x0806 makes no journeys: see it with --events`,
		}, {
			"not ether proto back",
			"                ^^^^",
			`ether proto needs ip, ip6, arp or a number`,
		}, {
			"ether proto 0x8100",
			"            ^^^^^^",
			`natlens looks behind tags: say vlan`,
		}, {
			"host 10.0.0.1:80",
			"     ^^^^^^^^^^^",
			`for an address and its port say host 10.0.0.1 and port 80`,
		}, {
			"dst host [fd00::1]:https",
			"         ^^^^^^^^^^^^^^^",
			`for an address and its port say dst host fd00::1 and dst port https`,
		}, {
			"src 10.0.0.1:80",
			"    ^^^^^^^^^^^",
			`for an address and its port say src host 10.0.0.1 and src port 80`,
		}, {
			"[fd00::1]:80",
			"^^^^^^^^^^^^",
			`for an address and its port say host fd00::1 and port 80`,
		}, {
			"net 10.0.0.1:80",
			"    ^^^^^^^^^^^",
			`for an address and its port say host 10.0.0.1 and port 80`,
		}, {
			"#22",
			"^^^",
			`"#22" is no word of this language, and no container can be called so; for another namespace say container #22`,
		}, {
			"back or zwölf",
			"        ^^^^^",
			`"zwölf" is no word of this language, and no container can be called so; for another namespace say container zwölf`,
		}, {
			"container back or a/b",
			"                  ^^^",
			`"a/b" is no word of this language, and no container can be called so; for another namespace say container a/b`,
		}, {
			"TCP",
			"^^^",
			`say tcp; for a container of that name say container TCP`,
		}, {
			"src Host",
			"    ^^^^",
			`say host; for a container of that name say container Host`,
		}, {
			"tcp AND udp",
			"    ^^^",
			`say and`,
		}, {
			"http",
			"^^^^",
			`no container "http" is known: for a port say port http; for a container to come say container http`,
		}, {
			"tcp and dst gre",
			"            ^^^",
			`no container "gre" is known: for a protocol say proto gre; for a container to come say container gre`,
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
			"nat masq",
			"    ^^^^",
			`nat needs snat, dnat, redirect, masquerade or netmap, got "masq"`,
		}, {
			"nat icmp",
			"    ^^^^",
			`put "and" or "or" before "icmp"`,
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
			"icmp or tcp and udp",
			"^^^^^^^^^^^^^^^^^^^",
			`no packet can match "icmp or tcp and udp": where either will do say or`,
		}, {
			"vrrp port 80",
			"          ^^",
			`vrrp has no ports`,
		}, {
			"link ü and",
			"          ^",
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
