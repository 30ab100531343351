package live

import (
	"fmt"
	"strings"

	"natlens/netinfo/netfilter"
)

// logged are sentences about the settings that say who gets what a namespace logs.
func logged(name string, l netfilter.Loggers) (sentences []string) {
	if len(l.Left) > 0 {
		sentences = append(sentences, fmt.Sprintf("in %s sysctl %s is nfnetlink_log and no program listens, as when a natlens was killed with its whole cgroup "+
			"(docker rm -f): sysctl -w %s puts that back, or nf_log_ipv4 and nf_log_ipv6 for NONE where it was that",
			name, strings.Join(l.Left, " and "), strings.Join(l.Left, "=NONE ")+"=NONE"))
	}
	if len(l.Changed) > 0 {
		sentences = append(sentences, fmt.Sprintf("tracing iptables-legacy: in %s sysctl net.netfilter.nf_log.2 and .10 are nfnetlink_log until natlens ends, "+
			"even if killed. Only if its whole cgroup is killed (docker rm -f, out of memory) they stay so: sysctl -w %s puts them back. "+
			"Meanwhile the kernel's log lacks others' TRACE and nf_conntrack_log_invalid",
			name, strings.Join(l.Changed, " ")))
	}
	return sentences
}
