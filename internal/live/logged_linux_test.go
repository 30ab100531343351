package live

import (
	"strings"
	"testing"

	"natlens/netinfo/netfilter"
)

func TestLogged(t *testing.T) {
	if said := logged("host", netfilter.Loggers{}); len(said) > 0 {
		t.Errorf("nothing is changed, and %q is said", said)
	}
	said := logged("back", netfilter.Loggers{
		Changed: []string{"net.netfilter.nf_log.10=nf_log_ipv6"}, Left: []string{"net.netfilter.nf_log.2", "net.netfilter.nf_log.10"},
	})
	want := []string{
		"in back sysctl net.netfilter.nf_log.2 and net.netfilter.nf_log.10 is nfnetlink_log ",
		": sysctl -w net.netfilter.nf_log.2=NONE net.netfilter.nf_log.10=NONE puts that back",
		": sysctl -w net.netfilter.nf_log.10=nf_log_ipv6 puts them back",
	}
	if all := strings.Join(said, "\n"); len(said) != 2 || !containsAll(all, want) {
		t.Errorf("%q, want %q in it", said, want)
	}
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}
