package lab_test

import (
	"os/exec"
	"regexp"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

// marks are the connections that conntrack(8) must list after a scenario was played:
// in a namespace, by the tuples of both directions. They are written from what
// Docker's documentation says of each network, not from what natlens shows.
var marks = map[string][]struct{ namespace, entry string }{
	"masquerade": {
		{"", `icmp .*src=172.17.0.2 dst=198.51.100.7 .*src=198.51.100.7 dst=192.0.2.10 `},
		{"", `tcp .*src=192.0.2.1 dst=192.0.2.10 sport=\d+ dport=8000 src=172.17.0.2 dst=192.0.2.1 sport=8000 `},
	},
	"host-network": {
		{"", `icmp .*src=192.0.2.10 dst=198.51.100.7 .*src=198.51.100.7 dst=192.0.2.10 `},
		{"", `tcp .*src=192.0.2.1 dst=192.0.2.10 sport=\d+ dport=80 src=192.0.2.10 dst=192.0.2.1 sport=80 `},
	},
	"bridge": {
		{"", `icmp .*src=172.17.0.2 dst=198.51.100.7 .*src=198.51.100.7 dst=192.0.2.10 `},
		{"", `icmp .*src=172.17.0.1 dst=172.17.0.2 .*src=172.17.0.2 dst=172.17.0.1 `},
		{"", `icmp .*src=172.17.0.2 dst=172.17.0.1 .*src=172.17.0.1 dst=172.17.0.2 `},
	},
	"ports": {
		{"", `tcp .*src=192.0.2.1 dst=192.0.2.10 sport=\d+ dport=8000 src=172.17.0.2 dst=192.0.2.1 sport=8000 `},
		{"", `tcp .*src=127.0.0.1 dst=127.0.0.1 sport=\d+ dport=8000 src=172.17.0.2 dst=172.17.0.1 sport=8000 `},
		{"", `tcp .*src=172.17.0.3 dst=192.0.2.10 sport=\d+ dport=8000 src=172.17.0.2 dst=172.17.0.3 sport=8000 `},
	},
	"custom": {
		{"client", `udp .*src=127.0.0.1 dst=127.0.0.11 sport=\d+ dport=53 src=127.0.0.11 dst=127.0.0.1 sport=[1-9]\d{3,} `},
		{"client", `tcp .*src=172.24.0.3 dst=172.24.0.2 sport=\d+ dport=8000 src=172.24.0.2 dst=172.24.0.3 sport=8000 `},
	},
	"addresses": {
		{"back", `udp .*src=127.0.0.1 dst=127.0.0.11 sport=\d+ dport=53 src=127.0.0.11 dst=127.0.0.1 sport=[1-9]\d{3,} `},
		{"back", `icmp .*src=172.24.0.3 dst=172.24.0.2 `},
	},
	"database": {
		{"back", `tcp .*src=172.24.0.2 dst=172.24.0.3 sport=\d+ dport=5432 src=172.24.0.3 dst=172.24.0.2 sport=5432 `},
	},
}

func TestScenariosLeaveTheirMarks(t *testing.T) {
	conntrack, err := exec.LookPath("conntrack")
	if err != nil {
		t.Skip("needs conntrack: package conntrack")
	}
	for _, s := range lab.Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			h := labtest.NewHost(t)
			if err := s.Build(h); err != nil {
				t.Fatal(err)
			}
			if err := s.Play(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			for _, m := range marks[s.Name] {
				cmd := exec.CommandContext(t.Context(), conntrack, "-L")
				if m.namespace != "" {
					cmd = exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/"+m.namespace, conntrack, "-L")
				}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if !regexp.MustCompile(m.entry).Match(out) {
					t.Errorf("no %s in %q:\n%s", m.entry, m.namespace, out)
				}
			}
		})
	}
}

// A macvlan's packets pass the host's wire, and no rule and no tracking of it.
func TestMacvlanPassesTheHostBy(t *testing.T) {
	conntrack, err := exec.LookPath("conntrack")
	if err != nil {
		t.Skip("needs conntrack: package conntrack")
	}
	h := labtest.NewHost(t)
	for _, s := range lab.Scenarios() {
		if s.Name != "macvlan" {
			continue
		}
		if err := s.Build(h); err != nil {
			t.Fatal(err)
		}
		if err := s.Play(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), conntrack, "-L").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if regexp.MustCompile(`192\.0\.2\.20`).Match(out) {
		t.Errorf("the host tracks it:\n%s", out)
	}
}
