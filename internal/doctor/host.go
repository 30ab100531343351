package doctor

import "natlens/netinfo"

// Host is what was found, before it is judged. The zero Host is one on which
// nothing could be found out.
type Host struct {
	Kernel string // release, as uname -r prints it
	Root   bool   // effective user id 0
	// Effective holds the names of the effective capabilities: CAP_NET_RAW.
	Effective map[string]bool
	// NestedUser: this process is in a user namespace other than the first, so
	// that its capabilities count only in namespaces made there.
	NestedUser bool
	// Sysctls holds the values of the kernel's settings by their names in
	// sysctl(8): net.ipv4.ip_forward. Those that do not exist are absent.
	Sysctls map[string]string

	Ring   Trial // a TPACKET_V3 ring, bound to nothing
	Flows  Trial // a question to ctnetlink
	Events Trial // joining ctnetlink's events
	Owner  Trial // an nf_tables table that belongs to its socket

	Rules Rules
	// Topology is what a scan found; nil when there was none, for ScanErr.
	Topology *netinfo.Topology
	ScanErr  error
}

// Trial is something that was tried out.
type Trial struct {
	Tried bool
	Err   error // nil: it works
}

// Rules says in whose words the rules of this namespace are written.
type Rules struct {
	Read bool // the tables of nf_tables could be listed
	Err  error
	// Tables of nf_tables as "ip nat"; NFT are those written by nft itself or
	// by programs like it, IPTablesNFT those by iptables-nft.
	NFT, IPTablesNFT []string
	// Legacy are the tables of iptables-legacy: "ip filter", "ip6 nat".
	Legacy     []string
	LegacyErr  error // why they could not be read; nil also when there are none
	LegacyRead bool
	// LeftLoggers are settings that a natlens left which was killed with all of its
	// cgroup: net.netfilter.nf_log.2.
	LeftLoggers []string
}

// Settings that Examine looks at.
const (
	ipForward       = "net.ipv4.ip_forward"
	bridgeCall      = "net.bridge.bridge-nf-call-iptables"
	conntrackEvents = "net.netfilter.nf_conntrack_events"
	conntrackAcct   = "net.netfilter.nf_conntrack_acct"
	conntrackStamps = "net.netfilter.nf_conntrack_timestamp"
	conntrackCount  = "net.netfilter.nf_conntrack_count"
	conntrackMax    = "net.netfilter.nf_conntrack_max"
	userClone       = "kernel.unprivileged_userns_clone"
	userAppArmor    = "kernel.apparmor_restrict_unprivileged_userns"
	userMax         = "user.max_user_namespaces"
)

// settings are the names of all of them.
var settings = []string{
	ipForward, bridgeCall, conntrackEvents, conntrackAcct, conntrackStamps, conntrackCount, conntrackMax,
	userClone, userAppArmor, userMax,
}
