package netinfo

import (
	"strings"
	"testing"
	"time"
)

func TestParseGate(t *testing.T) {
	for line, want := range map[string]struct {
		program, link string
		at            gateTarget
	}{
		"/usr/bin/slirp4netns --disable-host-loopback --mtu=65520 -c -e 3 -r 4 --netns-type=path /run/user/1000/netns/netns-1 tap0": {"slirp4netns", "tap0", gateTarget{path: "/run/user/1000/netns/netns-1"}},
		"slirp4netns --mtu 65520 -r 3 --disable-host-loopback 4711 tap0":                                                            {"slirp4netns", "tap0", gateTarget{pid: 4711}},
		"/usr/bin/pasta --config-net -t none --no-map-gw --quiet --netns /run/user/1000/netns/netns-1":                              {"pasta", "", gateTarget{path: "/run/user/1000/netns/netns-1"}},
		"/usr/bin/pasta.avx2 --config-net --netns=/run/netns/x":                                                                     {"pasta", "", gateTarget{path: "/run/netns/x"}},
		"pasta --config-net 4711": {"pasta", "", gateTarget{pid: 4711}},
	} {
		g, at, ok := parseGate([]byte(strings.ReplaceAll(line, " ", "\x00") + "\x00"))
		if !ok || g.program != want.program || g.link != want.link || at != want.at {
			t.Errorf("%s: %+v, %+v, %v", line, g, at, ok)
		}
	}
	for _, line := range []string{"", "slirp4netns", "slirp4netns --help", "pasta", "pasta --version", "pasta sh -c true", "sleep 4711 tap0", "slirp4netns -- web tap0"} {
		if g, at, ok := parseGate([]byte(strings.ReplaceAll(line, " ", "\x00"))); ok {
			t.Errorf("%q is a gate: %+v, %+v", line, g, at)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	f.Add([]byte("slirp4netns\x004711\x00tap0\x00"))
	f.Add([]byte("pasta\x00--netns\x00/run/netns/x\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if _, at, ok := parseGate(line); ok && at.pid <= 0 && at.path == "" {
			t.Errorf("%q is a gate to nowhere", line)
		}
	})
}

func TestWhatIsBehindAGate(t *testing.T) {
	f := dockerHost()
	f.gates = []gate{{pid: 50, uid: 1000, program: "slirp4netns", link: "tap0", namespace: webNS}, {pid: 51, program: "pasta", namespace: otherNS}}
	notes := assemble(f, time.Time{}).Notes
	if len(notes) != 1 || notes[0].About != "rootless" || !strings.Contains(notes[0].Text, "slirp4netns, process 50 of user 1000, carries what web sends by tap0") ||
		!strings.Contains(notes[0].Text, "no NAT rule") || !strings.Contains(notes[0].Text, "nsenter -t ") {
		t.Errorf("notes %+v", notes)
	}
}
