package doctor

import (
	"fmt"
	"strconv"
	"strings"
)

// Examine judges what was found.
func Examine(h Host) Report {
	var r Report
	r = append(r, privileges(h)...)
	r = append(r, kernel(h)...)
	r = append(r, tracking(h)...)
	r = append(r, forwarding(h)...)
	r = append(r, rules(h)...)
	return append(r, engine(h)...)
}

func privileges(h Host) []Check {
	const group = "privileges"
	capability := func(name, works, without string, blocks bool) Check {
		c := Check{Group: group, Name: name, Status: OK, Found: "held", Means: works, Blocks: blocks}
		if !h.Effective[name] {
			c.Status, c.Found, c.Means = Missing, "not held", without
		}
		return c
	}
	checks := []Check{
		capability("CAP_NET_RAW", "watch and probe may open packet rings",
			"watch and probe can't see packets", true),
		capability("CAP_NET_ADMIN", "watch and flows may ask conntrack, explain may read NAT rules",
			"watch and flows can't ask conntrack; explain can't read NAT rules", true),
		capability("CAP_SYS_ADMIN", "watch, list and explain may enter containers' namespaces",
			"watch, list and explain see this namespace only, not what is inside containers", true),
		capability("CAP_SYS_PTRACE", "namespaces are found by every process in them",
			"namespaces are found only by their mounts and by one's own processes; list may miss some", false),
	}
	if ptrace := &checks[3]; ptrace.Status == Missing {
		ptrace.Status = Limited
	}
	user := Check{Group: group, Name: "user namespace", Status: OK, Found: "the first one", Means: "capabilities count on the whole host"}
	if h.NestedUser {
		user.Status, user.Found = Limited, "not the first one"
		user.Means = "capabilities count only in namespaces made here; watch can't look into the host's"
	}
	return append(checks, user)
}

func kernel(h Host) []Check {
	const group = "kernel"
	version := Check{Group: group, Name: "version", Status: OK, Found: h.Kernel}
	if major, minor, ok := kernelVersion(h.Kernel); !ok {
		version.Status, version.Found, version.Means = Limited, "unknown", "nothing is concluded from it"
	} else if before(major, minor, 4, 11) {
		version.Status, version.Means = Limited, "older than 4.11, with which natlens was never tried"
	}
	ring := tried(group, "packet rings", h.Ring, "TPACKET_V3 works",
		"watch and probe read packets in blocks, and count what they lose", "watch can't run", "CAP_NET_RAW")
	ring.Blocks = h.Ring.Tried // else the capability does
	owner := tried(group, "owner tables", h.Owner, "work",
		"watch --trace can leave nothing behind, whatever happens", "watch --trace can't run", "CAP_SYS_ADMIN")
	if !h.Owner.Tried {
		byVersion(&owner, h.Kernel, 5, 12, "watch --trace should be able to run", "watch --trace can't run")
	}
	traceID := Check{Group: group, Name: "conntrack ids in traces"}
	byVersion(&traceID, h.Kernel, 6, 16, "watch --trace joins rules and flows by id",
		"watch --trace joins rules and flows by headers, which may be ambiguous")
	return []Check{version, ring, owner, traceID, userNamespaces(h)}
}

// tried judges a Trial.
func tried(group, name string, t Trial, works, means, without, needs string) Check {
	c := Check{Group: group, Name: name, Status: OK, Found: works, Means: means}
	switch {
	case !t.Tried:
		c.Status, c.Found, c.Means = Limited, "not tried, which needs "+needs, ""
	case t.Err != nil:
		c.Status, c.Found, c.Means = Missing, t.Err.Error(), without
	}
	return c
}

// byVersion judges what could not be tried by the kernel's version, which
// distributions' backports make no more than a guess.
func byVersion(c *Check, release string, major, minor int, means, without string) {
	have, haveMinor, ok := kernelVersion(release)
	switch {
	case !ok:
		c.Status, c.Found, c.Means = Limited, "unknown", without
	case before(have, haveMinor, major, minor):
		c.Status, c.Found, c.Means = Limited, fmt.Sprintf("by version: no, they came with %d.%d", major, minor), without
	default:
		c.Status, c.Found, c.Means = OK, fmt.Sprintf("by version: yes, since %d.%d", major, minor), means
	}
}

// userNamespaces says whether demo can run without root. It goes by settings:
// the attempt itself is demo's.
func userNamespaces(h Host) Check {
	c := Check{Group: "kernel", Name: "user namespaces", Status: OK, Found: "allowed for everyone", Means: "demo needs no root"}
	limit, known := h.Sysctls[userMax]
	switch {
	case !known:
		c.Status, c.Found = Missing, "not in this kernel"
	case limit == "0":
		c.Status, c.Found = Missing, userMax+" is 0"
	case h.Sysctls[userClone] == "0":
		c.Status, c.Found = Limited, userClone+" is 0"
	case h.Sysctls[userAppArmor] == "1":
		c.Status, c.Found = Limited, userAppArmor+" is 1"
	}
	if c.Status != OK {
		c.Means = "demo needs root"
	}
	return c
}

func tracking(h Host) []Check {
	const group = "conntrack"
	flows := tried(group, "flows", h.Flows, "can be read", "watch and flows know each translation and its id",
		"watch and flows can't say what was translated", "CAP_NET_ADMIN")
	flows.Blocks = h.Flows.Tried // else the capability does
	events := tried(group, "events", h.Events, "can be followed", "watch learns of a new flow at once",
		"watch learns of flows by reading the table now and then, and misses short ones", "CAP_NET_ADMIN")
	if v := h.Sysctls[conntrackEvents]; v == "0" {
		events.Status, events.Found = Limited, conntrackEvents+" is 0"
		events.Means = "watch learns of flows by reading the table now and then, and misses short ones"
	}
	checks := []Check{flows, events,
		setting(h, group, "timestamps", conntrackStamps, "the kernel says when a flow began",
			"watch knows when a flow began only to some milliseconds; sysctl -w "+conntrackStamps+"=1"),
		setting(h, group, "accounting", conntrackAcct, "flows shows packets and bytes",
			"flows shows no packets and bytes; sysctl -w "+conntrackAcct+"=1"),
	}
	return append(checks, room(h))
}

// setting judges a switch whose absence limits.
func setting(h Host, group, name, key, on, off string) Check {
	switch h.Sysctls[key] {
	case "":
		return Check{Group: group, Name: name, Status: Limited, Found: key + " does not exist here", Means: off[:strings.IndexByte(off+";", ';')]}
	case "0":
		return Check{Group: group, Name: name, Status: Limited, Found: "off", Means: off}
	}
	return Check{Group: group, Name: name, Status: OK, Found: "on", Means: on}
}

// room looks at how full the table is: a full one drops new connections.
func room(h Host) Check {
	c := Check{Group: "conntrack", Name: "table", Status: OK}
	count, errCount := strconv.Atoi(h.Sysctls[conntrackCount])
	most, errMost := strconv.Atoi(h.Sysctls[conntrackMax])
	if errCount != nil || errMost != nil || most <= 0 {
		c.Status, c.Found, c.Means = Limited, "size unknown", "nothing is concluded from it"
		return c
	}
	c.Found = fmt.Sprintf("%d of %d entries", count, most)
	if count*10 >= most*9 {
		c.Status, c.Means = Limited, "nearly full: the kernel drops packets of new connections, whatever the rules say"
	}
	return c
}

func forwarding(h Host) []Check {
	const group = "forwarding"
	forward := Check{Group: group, Name: "ip_forward", Status: OK, Found: "1", Means: "containers can reach the outside"}
	if v := h.Sysctls[ipForward]; v != "1" {
		forward.Status, forward.Found = Limited, orUnknown(v)
		forward.Means = "containers can't reach the outside; an engine turns it on when it starts"
	}
	bridge := Check{Group: group, Name: "bridge-nf-call-iptables", Status: OK, Found: "1", Means: "rules see bridged packets too"}
	switch v, ok := h.Sysctls[bridgeCall]; {
	case !ok:
		bridge.Status, bridge.Found = Limited, "not here (module br_netfilter)"
		bridge.Means = "rules do not see packets between containers of one network"
	case v != "1":
		bridge.Status, bridge.Found = Limited, v
		bridge.Means = "rules do not see packets between containers of one network; publishing to oneself may fail"
	}
	return []Check{forward, bridge}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func rules(h Host) []Check {
	const group = "rules"
	nft := Check{Group: group, Name: "nf_tables", Status: OK}
	switch {
	case h.Rules.Read && len(h.Rules.NFT) == 0:
		nft.Found = "no tables of its own"
	case h.Rules.Read:
		nft.Found = shortList(h.Rules.NFT)
		nft.Means = "watch and explain quote these rules"
	default:
		nft = unread(group, "nf_tables", h.Rules.Err)
	}
	compat := Check{Group: group, Name: "iptables-nft", Status: OK}
	switch {
	case h.Rules.Read && len(h.Rules.IPTablesNFT) == 0:
		compat.Found = "no tables"
	case h.Rules.Read:
		compat.Found = shortList(h.Rules.IPTablesNFT)
		compat.Means = "watch and explain quote these rules"
	default:
		compat = unread(group, "iptables-nft", h.Rules.Err)
	}
	legacy := Check{Group: group, Name: "iptables-legacy", Status: OK, Found: "no tables"}
	switch {
	case !h.Rules.LegacyRead:
		legacy = unread(group, "iptables-legacy", h.Rules.LegacyErr)
	case len(h.Rules.Legacy) > 0:
		legacy.Found, legacy.Means = shortList(h.Rules.Legacy), "watch and explain quote these rules"
		if len(h.Rules.NFT)+len(h.Rules.IPTablesNFT) > 0 {
			legacy.Status = Limited
			legacy.Means += "; packets pass them and those of nf_tables, one after the other"
		}
	}
	checks := []Check{nft, compat, legacy}
	if left := h.Rules.LeftLoggers; len(left) > 0 {
		checks = append(checks, Check{
			Group: group, Name: "loggers", Status: Limited, Found: strings.Join(left, " and ") + " is nfnetlink_log, and no program listens",
			Means: "left by a natlens that was killed with its whole cgroup; sysctl -w " + strings.Join(left, "=NONE ") + "=NONE puts it back",
		})
	}
	return checks
}

func unread(group, name string, err error) Check {
	c := Check{Group: group, Name: name, Status: Limited, Found: "not read, which needs CAP_NET_ADMIN", Means: "explain and watch can't quote rules"}
	if err != nil {
		c.Found = err.Error()
	}
	return c
}

// shortList names the first few.
func shortList(all []string) string {
	const most = 6
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(" and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}

func engine(h Host) []Check {
	checks := engineItself(h)
	if h.Topology == nil {
		return checks
	}
	for _, n := range h.Topology.Notes {
		if n.About == "rootless" {
			checks = append(checks, Check{Group: "engine", Name: "rootless", Status: Limited, Found: n.Text, Means: "from here watch sees the program's own connections"})
		}
	}
	return checks
}

func engineItself(h Host) []Check {
	const group = "engine"
	if h.Topology == nil {
		c := Check{Group: group, Name: "engine", Status: Limited, Found: "not asked", Means: "containers have no names"}
		if h.ScanErr != nil {
			c.Found = h.ScanErr.Error()
		}
		return []Check{c}
	}
	e := h.Topology.Engine
	if e == nil {
		found := "none found"
		for _, n := range h.Topology.Notes {
			if n.About == "engine" {
				found = n.Text
			}
		}
		return []Check{{
			Group: group, Name: "engine", Status: Limited, Found: found,
			Means: "list and watch name namespaces after their processes; demo needs no engine",
		}}
	}
	if e.Unasked {
		c := Check{Group: group, Name: "engine", Status: Limited, Found: e.Name + ", whose service was not asked", Means: "names are those that its processes bear"}
		for _, n := range h.Topology.Notes {
			if n.About == "engine" {
				c.Means = n.Text
			}
		}
		return []Check{c, whereabouts(h)}
	}
	found := strings.TrimSpace(e.Name + " " + e.Version)
	if e.Host != "" {
		found += " at " + e.Host
	}
	checks := []Check{{Group: group, Name: "engine", Status: OK, Found: found, Means: "containers are called by their names"}}
	return append(checks, whereabouts(h))
}

// whereabouts says whether the engine's containers are on this host.
func whereabouts(h Host) Check {
	c := Check{Group: "engine", Name: "containers", Status: OK}
	here := 0
	for _, container := range h.Topology.Containers {
		if container.Namespace != 0 {
			here++
		}
	}
	total := len(h.Topology.Containers)
	c.Found = fmt.Sprintf("%d running, %d of them found here", total, here)
	switch {
	case h.Topology.Engine.Elsewhere != "":
		c.Status, c.Means = Limited, h.Topology.Engine.Elsewhere
	case total == 0:
		c.Found, c.Means = "none running", "to have something to watch: docker run, or natlens demo"
	case here < total:
		c.Status, c.Means = Limited, "the others are in namespaces that can't be read; root sees more"
	default:
		c.Means = "watch sees both ends of their cables"
	}
	return c
}

// kernelVersion takes 6 and 18 from "6.18.44-generic".
func kernelVersion(release string) (major, minor int, ok bool) {
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return major, minor, n == 2
}

func before(major, minor, thanMajor, thanMinor int) bool {
	return major < thanMajor || major == thanMajor && minor < thanMinor
}
