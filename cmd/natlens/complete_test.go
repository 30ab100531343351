package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/docker"
)

// complete returns what a Tab offers behind the words, the last of which is being
// typed, and the directive to the shell (the protocol of cobra's __complete). The
// engine is at host.
func complete(t *testing.T, host string, words ...string) (offered []string, directive string) {
	t.Helper()
	natlens, err := exec.LookPath("natlens") // TestMain put it there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), natlens, append([]string{"__complete"}, words...)...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	if rest, ok := strings.CutPrefix(said.String(), "Completion ended with directive: "); !ok || strings.Count(rest, "\n") != 1 {
		t.Errorf("%q: something is said to who types: %q", words, said.String())
	}
	for line := range strings.Lines(string(out)) {
		if d, ok := strings.CutPrefix(line, ":"); ok {
			directive = strings.TrimSpace(d)
			continue
		}
		name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		offered = append(offered, name)
	}
	return offered, directive
}

// TestCompleteWithoutEngine holds for every user of every host.
func TestCompleteWithoutEngine(t *testing.T) {
	none := "unix://" + filepath.Join(t.TempDir(), "no.sock")
	for _, c := range []struct {
		typed string // a blank at the end: a new word
		want  []string
		not   []string
	}{
		{"explain ", []string{"veth", "nat", "host", "lo"}, nil},
		{"explain ve", []string{"veth"}, []string{"nat", "lo"}},
		{"watch -i ", []string{"lo"}, []string{"veth", "nat", "host"}},
		{"watch --interface ", []string{"lo"}, nil},
		{"watch ", []string{"icmp", "tcp", "host", "container", "nat", "verdict"}, []string{"and", "lo", "masquerade"}},
		{"watch icmp ", []string{"and", "or"}, []string{"tcp", "lo"}},
		{"watch icmp and link ", []string{"lo"}, []string{"tcp", "and"}},
		{"watch nat ", []string{"masquerade", "and"}, []string{"lo"}},
		{"watch verdict d", []string{"dropped", "delivered"}, []string{"vanished"}},
		{"flows ", []string{"tcp", "nat", "container", "port"}, []string{"link", "verdict", "inbound", "ether", "less", "and"}},
		{"flows nat snat ", []string{"and"}, []string{"dropped"}},
		{"probe ", []string{"host"}, []string{"lo", "tcp"}},
		{"probe l", []string{"lo"}, nil},
		{"probe host ", []string{"host"}, []string{"lo"}},
		{"probe host host ", nil, []string{"host"}},
	} {
		got, directive := complete(t, none, strings.Split(c.typed, " ")...)
		for _, w := range c.want {
			if !slices.Contains(got, w) {
				t.Errorf("%q: %q is not among %q", c.typed, w, got)
			}
		}
		for _, w := range c.not {
			if slices.Contains(got, w) {
				t.Errorf("%q: %q is among %q", c.typed, w, got)
			}
		}
		if directive != "4" { // ShellCompDirectiveNoFileComp
			t.Errorf("%q: directive %s offers files, too", c.typed, directive)
		}
	}
}

// TestCompleteWithAnEngineThatHangs: who presses Tab gets what there is.
func TestCompleteWithAnEngineThatHangs(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "mute.sock")
	l, err := net.Listen("unix", socket) // the kernel takes connections, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	from := time.Now()
	got, _ := complete(t, "unix://"+socket, "explain", "")
	if !slices.Contains(got, "veth") || !slices.Contains(got, "lo") {
		t.Errorf("offered %q", got)
	}
	// Far beyond the bound, but below what the engine would get otherwise.
	if took := time.Since(from); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestOffer(t *testing.T) {
	host := (&netinfo.Topology{
		Self: 1,
		Namespaces: []*netinfo.Namespace{
			{ID: 1, Name: "host", Links: []*netinfo.Link{{Name: "lo", Role: netinfo.RoleLoopback}, {Name: "docker0", Role: netinfo.RoleBridge}, {Name: "e\x1bvil", Role: netinfo.RoleOther}}},
			{ID: 2, Name: "a namespace", Links: []*netinfo.Link{{Name: "eth0", Role: netinfo.RoleOther}}},
			{ID: 3, Name: "lab", Links: []*netinfo.Link{{Name: "lo", Role: netinfo.RoleLoopback}, {Name: "eth0", Role: netinfo.RoleVeth}}},
		},
		Containers: []*netinfo.Container{{Container: docker.Container{Name: "back"}}, {Container: docker.Container{Name: "new\nline"}}},
		Networks:   []*netinfo.Network{{Network: docker.Network{Name: "back"}}},
	}).Seal()
	var o offer
	o.containers(host)
	o.networks(host)
	o.namespaces(host)
	o.links(host)
	want := []string{"back\tcontainer, network", "host\tnamespace", "lab\tnamespace", "lo\tloopback", "docker0\tbridge"}
	if !slices.Equal(o.completions, want) {
		t.Errorf("offered %q, want %q", o.completions, want)
	}
	o = offer{typed: "l"}
	o.links(host)
	if want := []string{"lo\tloopback", "lab:eth0\tveth"}; !slices.Equal(o.completions, want) {
		t.Errorf("offered %q, want %q", o.completions, want)
	}
}
