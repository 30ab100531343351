package netfilter

import (
	"bytes"
	"os"

	"natlens/netinfo/netns"
)

// readBridged finds out whether the rules of IP see frames that are bridged
// (net.bridge.bridge-nf-call-iptables and -ip6tables). Each namespace has its own
// since Linux 5.3; without the module there are none, and no rule sees them.
func (r *Ruleset) readBridged(ns *netns.Handle) error {
	return ns.Do(func() error {
		r.bridged[0] = sysctl("/proc/sys/net/bridge/bridge-nf-call-iptables")
		r.bridged[1] = sysctl("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
		return nil
	})
}

func sysctl(path string) Fact {
	b, err := os.ReadFile(path)
	switch b = bytes.TrimSpace(b); {
	case os.IsNotExist(err):
		return False
	case err != nil || len(b) == 0:
		return NotKnown
	case string(b) == "0":
		return False
	}
	return True
}
