package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
)

// A rule that rejects, no route and an address that nobody has: each has its own word,
// whatever is sent, and it was foretold. Errors that come are answers.
func TestProbeRefused(t *testing.T) {
	e := dualHost(t, 8000)
	e.Run("--name", "back", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	// The kernel limits how often it says so; says is a part of what is told in each case.
	is := func(to, result, answers, says string) {
		t.Helper()
		line, _, _ := probe(t, e, "back", to)
		if line.Result != result || line.Expected == nil || line.Expected.Result != result || line.AsExpected == nil || !*line.AsExpected {
			t.Errorf("%s: %s (%s), expected %+v, as expected %v; want %s", to, line.Result, line.Reason, line.Expected, line.AsExpected, result)
		}
		if !strings.Contains(answers, line.Answer) {
			t.Errorf("%s: answer %s, want %s", to, line.Answer, answers)
		}
		out, _, _ := runProbe(t, e, "back", to)
		if !strings.Contains(unwrapped(out), says) || strings.Contains(string(out), "got it") {
			t.Errorf("%s: not %q in\n%s", to, says, out)
		}
	}
	t.Run("rejected", func(t *testing.T) {
		must(t, e.Command("iptables", "-I", "DOCKER-USER", "-d", "198.51.100.7", "-j", "REJECT"))
		defer func() { must(t, e.Command("iptables", "-D", "DOCKER-USER", "1")) }()
		for _, to := range []string{"198.51.100.7", "198.51.100.7:80", "198.51.100.7:80/udp"} {
			is(to, "dropped", "refused", "by DOCKER-USER")
		}
		must(t, e.Command("iptables", "-R", "DOCKER-USER", "1", "-d", "198.51.100.7", "-j", "REJECT", "--reject-with", "icmp-host-unreachable"))
		is("198.51.100.7:80/udp", "dropped", "unreachable", "by DOCKER-USER")
		must(t, e.Command("iptables", "-R", "DOCKER-USER", "1", "-p", "tcp", "-d", "198.51.100.7", "-j", "REJECT", "--reject-with", "tcp-reset"))
		is("198.51.100.7:80", "dropped", "refused", "by DOCKER-USER")
		path := filepath.Join(t.TempDir(), "paths.txt")
		if err := os.WriteFile(path, []byte("back -> 198.51.100.7:80 dropped\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, errs, status := runProbe(t, e, "--file", path); status != 0 {
			t.Errorf("a policy that holds: status %d\n%s%s", status, out, errs)
		}
	})
	t.Run("no route", func(t *testing.T) { withoutDefault(t, e, is) })
	t.Run("nobody", func(t *testing.T) {
		for _, to := range []string{"192.0.2.77", "192.0.2.77:80", "192.0.2.77:80/udp"} {
			is(to, "unreachable", "silent unreachable", "UNREACHABLE: after docker0: ")
		}
		line, _, _ := probe(t, e, "--timeout", "5s", "back", "192.0.2.78:80/udp")
		same(t, "result", line.Result, "unreachable")
		same(t, "the answer", line.Answer, "unreachable") // the kernel asks for 3 s
	})
}

// withoutDefault asks while the host has no default routes.
func withoutDefault(t *testing.T, e *engine.Engine, is func(to, result, answers, says string)) {
	routes := map[string]string{}
	for _, family := range []string{"-4", "-6"} {
		out, err := e.Command("ip", family, "route", "show", "default").Output()
		if err != nil || len(out) == 0 {
			t.Fatalf("no default route: %v", err)
		}
		routes[family] = strings.TrimSpace(string(out))
		must(t, e.Command("ip", family, "route", "del", "default"))
	}
	defer func() {
		for family, route := range routes {
			must(t, e.Command("ip", append([]string{family, "route", "add"}, strings.Fields(route)...)...))
		}
	}()
	for _, to := range []string{"203.0.113.9", "203.0.113.9:80", "203.0.113.9:80/udp"} {
		is(to, "unreachable", "silent unreachable", "host has no route to 203.0.113.9")
	}
	for _, to := range []string{"2001:db8:9::9", "[2001:db8:9::9]:80", "[2001:db8:9::9]:80/udp"} {
		is(to, "unreachable", "silent unreachable", "host has no route to 2001:db8:9::9")
	}
}

// unwrapped is text without its line breaks.
func unwrapped(text []byte) string { return strings.Join(strings.Fields(string(text)), " ") }
