package probe

import (
	"strings"
	"testing"

	"natlens/capture/packet"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		target string
		udp    bool
		want   Request
		typed  string // as Target writes it; empty: as it came
	}{
		{"database", false, Request{To: "database", Protocol: packet.ICMP}, ""},
		{"database:5432", false, Request{To: "database", Port: 5432, Protocol: packet.TCP}, ""},
		{"database:5432/tcp", false, Request{To: "database", Port: 5432, Protocol: packet.TCP}, "database:5432"},
		{"database:53", true, Request{To: "database", Port: 53, Protocol: packet.UDP}, "database:53/udp"},
		{"database:53/udp", false, Request{To: "database", Port: 53, Protocol: packet.UDP}, ""},
		{"198.51.100.7", false, Request{To: "198.51.100.7", Protocol: packet.ICMP}, ""},
		{"198.51.100.7:80", false, Request{To: "198.51.100.7", Port: 80, Protocol: packet.TCP}, ""},
		{"2001:db8::7", false, Request{To: "2001:db8::7", Protocol: packet.ICMP}, ""},
		{"[2001:db8::7]:80", false, Request{To: "2001:db8::7", Port: 80, Protocol: packet.TCP}, ""},
		{"[2001:db8::7]", false, Request{To: "2001:db8::7", Protocol: packet.ICMP}, "2001:db8::7"},
	} {
		c.want.From = "back"
		got, err := Parse("back", c.target, c.udp)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.target, got, err, c.want)
		}
		if c.typed == "" {
			c.typed = c.target
		}
		if got.Target() != c.typed {
			t.Errorf("%s is written %s, want %s", c.target, got.Target(), c.typed)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		from, target string
		udp          bool
		says         string
	}{
		{"", "database", false, "FROM and TO"},
		{"back", "", false, "FROM and TO"},
		{"back", ":80", false, "before the port"},
		{"back", "database:0", false, "1 to 65535"},
		{"back", "database:65536", false, "1 to 65535"},
		{"back", "database:http", false, `not "http"`},
		{"back", "database", true, "needs a port"},
		{"back", "database/tcp", false, "needs a port"},
		{"back", "database:53/sctp", false, `not "sctp"`},
		{"back", "224.0.0.1", false, "224.0.0.1 is not the address of one"},
		{"back", "[ff02::1]:80", false, "ff02::1 is not the address of one"},
		{"back", "0.0.0.0:80", false, "0.0.0.0 is not the address of one"},
		{"back", "255.255.255.255", false, "is not the address of one"},
	} {
		if _, err := Parse(c.from, c.target, c.udp); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q %q: %v, want %q", c.from, c.target, err, c.says)
		}
	}
}
