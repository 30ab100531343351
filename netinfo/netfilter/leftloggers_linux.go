package netfilter

import (
	"os"
	"strings"
)

// loggerSetting is the name of a family's logger in sysctl(8), without the family.
const loggerSetting = "net.netfilter.nf_log."

// LeftLoggers names the settings of the calling thread's namespace that give to
// programs what is logged, although none listens: net.netfilter.nf_log.2. A Tracer
// leaves them so when it is killed together with its watchdog, which happens where
// all of a cgroup is. It is empty where that can't be read, which needs root.
func LeftLoggers() (settings []string) {
	// A line for each group that somebody listens to (net/netfilter/nfnetlink_log.c).
	listeners, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_log")
	if err != nil || len(listeners) > 0 {
		return nil
	}
	for _, family := range loggerFamilies {
		b, err := os.ReadFile(loggerPath + family)
		if err == nil && strings.TrimSpace(string(b)) == netlinkLogger {
			settings = append(settings, loggerSetting+family)
		}
	}
	return settings
}

// Loggers is what a Tracer did with the settings net.netfilter.nf_log of a namespace,
// and how it found them.
type Loggers struct {
	// Changed are those that are nfnetlink_log until the namespace is detached, each
	// with its value before, as sysctl(8) takes it: net.netfilter.nf_log.2=NONE.
	Changed []string
	// Left are those that were so before, and nobody listened; see LeftLoggers.
	Left []string
}
