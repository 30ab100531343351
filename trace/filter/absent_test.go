package filter

import (
	"strings"
	"testing"
)

// What makes no journeys is known from what is only left out.
func TestAbsent(t *testing.T) {
	for _, c := range []struct{ expr, events, others string }{
		{"tcp", "", ""},
		{"not arp", "", ""},
		{"arp or icmp", "arp", ""},
		{"icmp or igmp or ether proto arp or stp", "igmp arp", "stp"},
		{"not (tcp and not arp)", "arp", ""},
		{"icmp or icmp6[icmp6type] = icmp6-neighborsolicit", "icmp6[0] = 135", ""},
		{"icmp or icmp6[icmp6type] = icmp6-echo", "", ""},
		{"icmp6 and ip6[40] == 135", "ip6[40] = 135", ""},
		{"icmp6 and 136 = ip6[40]", "136 = ip6[40]", ""},
		{"tcp and ip6[40] == 135 or not ip6[40] == 135", "", ""},
	} {
		f := mustParse(t, c.expr)
		events, others := f.Absent()
		if strings.Join(events, " ") != c.events || strings.Join(others, " ") != c.others {
			t.Errorf("%q: events %q, others %q, want %q, %q", c.expr, events, others, c.events, c.others)
		}
	}
}

// "not arp" is true of every journey, and of the protocols of all.
func TestLeavingOutWhatMakesNoJourneys(t *testing.T) {
	for expr, want := range map[string]bool{
		"not arp": true, "tcp and not arp": true, "udp and not arp": false, "udp or arp": false, "not arp and not stp": true,
	} {
		if got := mustParse(t, expr).Match(masqueraded()); got != want {
			t.Errorf("%q: %t, want %t", expr, got, want)
		}
	}
	if p := mustParse(t, "not arp").Protocols(); p != nil {
		t.Errorf("not arp: the kernel is asked for %v only", p)
	}
	if p := mustParse(t, "arp or icmp").Protocols(); len(p) != 1 {
		t.Errorf("arp or icmp: the kernel is asked for %v", p)
	}
}
