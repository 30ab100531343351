package filter

import "testing"

func TestWhatOnlyPacketsAnswer(t *testing.T) {
	for expression, want := range map[string]string{
		"":                               "",
		"tcp port 80 or icmp":            "",
		"src host 192.0.2.1 and not ip6": "",
		"net 10.0.0.0/8 and network back_net and nat masquerade and flow 7": "",
		"ip multicast":                 "",
		"container back or vlan 7":     "vlan 7",
		"not (tcp and inbound)":        "inbound",
		"verdict dropped":              "verdict dropped",
		"udp and link eth0":            "link eth0",
		"tcp and tcp[0:2] = 80":        "tcp[0:2] = 80",
		"greater 100":                  "len >= 100",
		"ether host 02:00:00:00:00:01": "ether host 02:00:00:00:00:01",
		"broadcast and link docker":    "broadcast",
	} {
		f, err := Parse(expression, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.OfPackets(); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}
