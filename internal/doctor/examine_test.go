package doctor

import (
	"errors"
	"strings"
	"testing"

	"natlens/netinfo"
	"natlens/netinfo/docker"
)

// wellHost is a host on which everything works.
func wellHost() Host {
	works := Trial{Tried: true}
	return Host{
		Kernel: "6.18.44-generic", Root: true,
		Effective: map[string]bool{"CAP_NET_RAW": true, "CAP_NET_ADMIN": true, "CAP_SYS_ADMIN": true, "CAP_SYS_PTRACE": true},
		Sysctls: map[string]string{
			ipForward: "1", bridgeCall: "1", conntrackEvents: "2", conntrackAcct: "1", conntrackStamps: "1",
			conntrackCount: "12", conntrackMax: "262144", userMax: "15000",
		},
		Ring: works, Flows: works, Events: works, Owner: works,
		Rules: Rules{Read: true, LegacyRead: true, IPTablesNFT: []string{"ip nat", "ip filter"}},
		Topology: &netinfo.Topology{
			Engine:     &netinfo.Engine{Engine: docker.Engine{Name: "Docker Engine", Version: "28.5.1"}},
			Containers: []*netinfo.Container{{Namespace: 4026532325}},
		},
	}
}

func TestWellHost(t *testing.T) {
	r := Examine(wellHost())
	for _, c := range r {
		if c.Status != OK {
			t.Errorf("%s, %s: %s, %s", c.Group, c.Name, c.Status, c.Found)
		}
		if c.Found == "" {
			t.Errorf("%s, %s: nothing was found", c.Group, c.Name)
		}
	}
	if !r.CanWatch() {
		t.Errorf("watch is blocked by %+v", r.Blocking())
	}
}

// TestAilments spoils one thing at a time: exactly that check must say so, with
// a meaning, and watch must be blocked exactly where it can't run.
func TestAilments(t *testing.T) {
	broken := Trial{Tried: true, Err: errors.New("protocol not supported")}
	for _, c := range []struct {
		name   string
		spoil  func(*Host)
		check  string
		status Status
		found  string
		blocks bool
	}{
		{"no packet sockets", func(h *Host) { delete(h.Effective, "CAP_NET_RAW") }, "CAP_NET_RAW", Missing, "not held", true},
		{"no network administration", func(h *Host) { delete(h.Effective, "CAP_NET_ADMIN") }, "CAP_NET_ADMIN", Missing, "not held", true},
		{"no entering", func(h *Host) { delete(h.Effective, "CAP_SYS_ADMIN") }, "CAP_SYS_ADMIN", Missing, "not held", true},
		{"no ptrace", func(h *Host) { delete(h.Effective, "CAP_SYS_PTRACE") }, "CAP_SYS_PTRACE", Limited, "not held", false},
		{"nested", func(h *Host) { h.NestedUser = true }, "user namespace", Limited, "not the first one", false},
		{"old kernel", func(h *Host) { h.Kernel = "6.1.0-40-amd64" }, "conntrack ids in traces", Limited, "came with 6.16", false},
		{"ring refused", func(h *Host) { h.Ring = broken }, "packet rings", Missing, "protocol not supported", true},
		{"ring not tried", func(h *Host) { h.Ring = Trial{} }, "packet rings", Limited, "CAP_NET_RAW", false},
		{"no owner tables", func(h *Host) { h.Owner = broken }, "owner tables", Missing, "protocol not supported", false},
		{"no conntrack", func(h *Host) { h.Flows = broken }, "flows", Missing, "protocol not supported", true},
		{"events off", func(h *Host) { h.Sysctls[conntrackEvents] = "0" }, "events", Limited, "nf_conntrack_events is 0", false},
		{"stamps off", func(h *Host) { h.Sysctls[conntrackStamps] = "0" }, "timestamps", Limited, "off", false},
		{"accounting gone", func(h *Host) { delete(h.Sysctls, conntrackAcct) }, "accounting", Limited, "does not exist", false},
		{"table full", func(h *Host) { h.Sysctls[conntrackCount] = "262144" }, "table", Limited, "262144 of 262144", false},
		{"table unknown", func(h *Host) { h.Sysctls[conntrackMax] = "many" }, "table", Limited, "unknown", false},
		{"no forwarding", func(h *Host) { h.Sysctls[ipForward] = "0" }, "ip_forward", Limited, "0", false},
		{"no br_netfilter", func(h *Host) { delete(h.Sysctls, bridgeCall) }, "bridge-nf-call-iptables", Limited, "br_netfilter", false},
		{"no user namespaces", func(h *Host) { h.Sysctls[userMax] = "0" }, "user namespaces", Missing, "is 0", false},
		{"AppArmor", func(h *Host) { h.Sysctls[userAppArmor] = "1" }, "user namespaces", Limited, "apparmor", false},
		{"Debian of old", func(h *Host) { h.Sysctls[userClone] = "0" }, "user namespaces", Limited, "userns_clone is 0", false},
		{"legacy rules", func(h *Host) { h.Rules.Legacy = []string{"ip nat"} }, "iptables-legacy", Limited, "ip nat", false}, // beside others
		{"legacy rules alone", func(h *Host) { h.Rules.Legacy, h.Rules.IPTablesNFT = []string{"ip nat"}, nil }, "iptables-legacy", OK, "ip nat", false},
		{"legacy not read", func(h *Host) { h.Rules.LegacyRead = false }, "iptables-legacy", Limited, "not read", false},
		{"loggers left", func(h *Host) { h.Rules.LeftLoggers = []string{"net.netfilter.nf_log.2"} }, "loggers", Limited, "nf_log.2 is nfnetlink_log", false},
		{"no engine", func(h *Host) { h.Topology = &netinfo.Topology{} }, "engine", Limited, "none found", false},
		{"no scan", func(h *Host) { h.Topology, h.ScanErr = nil, errors.New("list links: no buffer space") }, "engine", Limited, "no buffer space", false},
		{"elsewhere", func(h *Host) { h.Topology.Engine.Elsewhere = "remote engine" }, "containers", Limited, "1 running", false},
		{"not all found", func(h *Host) { h.Topology.Containers = append(h.Topology.Containers, &netinfo.Container{}) }, "containers", Limited, "1 of them", false},
	} {
		h := wellHost()
		c.spoil(&h)
		r := Examine(h)
		for _, k := range r {
			switch {
			case k.Name != c.check:
				if k.Status != OK {
					t.Errorf("%s: %s is %s too", c.name, k.Name, k.Status)
				}
			case k.Status != c.status || !strings.Contains(k.Found, c.found):
				t.Errorf("%s: %+v, want %s with %q", c.name, k, c.status, c.found)
			case k.Means == "" && !strings.HasPrefix(k.Found, "not tried"):
				t.Errorf("%s: it does not say what that means: %+v", c.name, k)
			}
		}
		if r.CanWatch() == c.blocks {
			t.Errorf("%s: watch blocked by %+v, want blocked: %v", c.name, r.Blocking(), c.blocks)
		}
	}
}

func TestNothingKnown(t *testing.T) {
	r := Examine(Host{})
	if r.CanWatch() {
		t.Error("watch can run where nothing is known")
	}
	for _, c := range r {
		if c.Found == "" || c.Status == OK && c.Name != "user namespace" {
			t.Errorf("%+v is ok where nothing is known", c)
		}
	}
}

func TestBothBackends(t *testing.T) {
	h := wellHost()
	h.Rules.Legacy = []string{"ip filter"}
	for _, c := range Examine(h) {
		if c.Name == "iptables-legacy" && !strings.Contains(c.Means, "one after the other") {
			t.Errorf("two backends at once and nothing says so: %+v", c)
		}
	}
}

func TestKernelVersion(t *testing.T) {
	for _, c := range []struct {
		release      string
		major, minor int
		ok           bool
	}{
		{"6.18.44-fc-v595", 6, 18, true}, {"5.10", 5, 10, true}, {"4.19.0-27-amd64", 4, 19, true}, {"", 0, 0, false}, {"six", 0, 0, false},
	} {
		major, minor, ok := kernelVersion(c.release)
		if ok != c.ok || ok && (major != c.major || minor != c.minor) {
			t.Errorf("%q is %d.%d (%v)", c.release, major, minor, ok)
		}
	}
}

func TestShortList(t *testing.T) {
	if got := shortList([]string{"a", "b", "c", "d", "e", "f", "g", "h"}); got != "a, b, c, d, e, f and 2 more" {
		t.Error(got)
	}
}
