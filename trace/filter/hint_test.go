package filter

import (
	"errors"
	"testing"
)

// What Wireshark's display filters say is refused; where it can be said here, so it is.
func TestDisplayFilters(t *testing.T) {
	for _, tt := range []struct{ expr, at, say string }{
		{"tcp.port==80", "tcp.port==80", "tcp port 80"},
		{"tcp.port == 80 && ip", "tcp.port == 80", "tcp port 80"},
		{"ip and tcp.dstport != 443", "tcp.dstport != 443", "not tcp dst port 443"},
		{"ip.addr eq 10.0.0.1", "ip.addr eq 10.0.0.1", "host 10.0.0.1"},
		{"(ip.src==10.0.0.1)", "ip.src==10.0.0.1", "src host 10.0.0.1"},
		{"ipv6.dst == fd00::1", "ipv6.dst == fd00::1", "dst host fd00::1"},
		{"eth.addr==02:42:ac:11:00:02", "eth.addr==02:42:ac:11:00:02", "ether host 02:42:ac:11:00:02"},
		{"icmp.type==8", "icmp.type==8", "icmp[icmptype] = 8"},
		{"frame.len > 100", "frame.len > 100", "len > 100"},
		{"ip.ttl le 5", "ip.ttl le 5", "ip[8] <= 5"},
		{"tcp.flags.syn", "tcp.flags.syn", "tcp[tcpflags] & tcp-syn != 0"},
		{"tcp.flags.syn == 1", "tcp.flags.syn == 1", "tcp[tcpflags] & tcp-syn != 0"},
		{"tcp.flags.ack==0", "tcp.flags.ack==0", "tcp[tcpflags] & tcp-ack = 0"},
		{"tcp.port > 1024", "tcp.port > 1024", ""},
		{"tcp.port", "tcp.port", ""},
		{"ip.addr == back", "ip.addr == back", ""},
		{"tcp.analysis.flags == 1", "tcp.analysis.flags == 1", ""},
	} {
		_, err := Parse(tt.expr, names)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%q: error %v, want a *SyntaxError", tt.expr, err)
			continue
		}
		want := "this is of Wireshark's display filters: say " + tt.say
		if tt.say == "" {
			want = "this is of Wireshark's display filters, not of pcap-filter(7)"
		} else if _, err := Parse(tt.say, nil); err != nil {
			t.Errorf("%q: %q is no filter: %v", tt.expr, tt.say, err)
		}
		if at := tt.expr[syntax.Offset : syntax.Offset+syntax.Length]; syntax.Message != want || at != tt.at {
			t.Errorf("%q: %q at %q, want %q at %q", tt.expr, syntax.Message, at, want, tt.at)
		}
	}
}
