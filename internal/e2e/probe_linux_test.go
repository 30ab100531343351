package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
	"natlens/internal/view/jsonl/jsonltest"
)

// probeLine is a probe as natlens probe --json tells it.
type probeLine struct {
	Kind, Result, Answer, Reason, Address, Error string

	Resolves   *bool
	AsExpected *bool `json:"as_expected"`
	Expected   *struct {
		Result, Unsure, Reason string
		Rule                   *struct{ Chain, Text string }
		Answer                 bool
		Stages                 []struct {
			Namespace    string
			Route        route
			Translations []struct {
				Kind  string
				After struct{ Source address }
				Rule  struct{ Text string }
			}
		}
	}
	Sent *struct {
		Tuple struct{ Source, Destination address }
	}
	Queries           []struct{ Server, Name, Type string }
	Journeys, Answers []uint64
}

// route is one that a probe was expected to take.
type route struct{ To, Gateway, Interface string }

// probe runs natlens probe --json on the engine's host.
func probe(t *testing.T, e *engine.Engine, args ...string) (line probeLine, journeys []journey, status int) {
	t.Helper()
	out, errs, status := runProbe(t, e, append([]string{"--json"}, args...)...)
	for text := range bytes.Lines(out) {
		jsonltest.Validate(t, text)
		var kind struct{ Kind string }
		decode(t, text, &kind)
		switch kind.Kind {
		case "journey":
			var j journey
			decode(t, text, &j)
			journeys = append(journeys, j)
		case "probe":
			decode(t, text, &line)
		}
	}
	if line.Kind == "" {
		t.Fatalf("probe %v: no line of kind probe (status %d)\n%s%s", args, status, out, errs)
	}
	return line, journeys, status
}

func runProbe(t *testing.T, e *engine.Engine, args ...string) (out []byte, errs string, status int) {
	t.Helper()
	cmd := e.Command(natlens, append([]string{"probe"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		status = exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return stdout.Bytes(), stderr.String(), status
}

// Two networks, a published port, an outside: what each question is answered, and
// that the rules and routes, read before, had said so.
func TestProbe(t *testing.T) {
	e := engine.Start(t)
	e.Network("--subnet", "172.24.0.0/16", "back_net")
	e.Network("--subnet", "172.25.0.0/16", "--internal", "inner_net")
	e.Run("--name", "back", "--network", "back_net", "-p", "8000:8000", "-p", "5000:5000/udp", "box")
	e.Run("--name", "database", "--network", "back_net", "box")
	e.Run("--name", "ubuntu", "box")
	e.Run("--name", "inner", "--network", "inner_net", "box")
	e.Run("--name", "alone", "--network", "none", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	l.answerUDP(e.Namespace("back"), netip.MustParseAddrPort("0.0.0.0:5000"))
	back := ipOf(t, e, "back", "back_net")

	for _, c := range []struct {
		from, to string
		result   string
		expected string // "" where nothing can be expected for sure
		rule     string // part of the rule that was expected to decide
	}{
		{"back", "database", "reached", "reached", ""},
		{"database", "back:8000", "reached", "reached", ""},
		{"database", "back:5000/udp", "reached", "reached", ""},
		{"back", "database:5432", "refused", "refused", ""},
		{"back", "database:53/udp", "refused", "refused", ""},
		{"ubuntu", "back:8000", "dropped", "dropped", "DOCKER-ISOLATION-STAGE-2"},
		{"ubuntu", "database", "dropped", "dropped", "DOCKER-ISOLATION-STAGE-2"},
		{"ubuntu", "198.51.100.7", "reached", "reached", ""},
		{"back", "198.51.100.7:9", "refused", "refused", ""},
		{"inner", "198.51.100.7", "dropped", "dropped", "DOCKER-ISOLATION-STAGE-1"},
		{"host", "back:8000", "reached", "reached", ""},
		{"host", "192.0.2.10:8000", "reached", "reached", ""},
		{"host", "127.0.0.1:8000", "reached", "reached", ""},
		{"back", "192.0.2.10:8000", "reached", "reached", ""},
		{"ubuntu", "192.0.2.10:8000", "reached", "reached", ""},
		{"ubuntu", "host", "reached", "reached", ""},
		{"back", "172.24.0.77", "unreachable", "unreachable", ""},
		{"back", "alone", "unreachable", "", ""},
		{"alone", "back", "unreachable", "unreachable", ""},
	} {
		t.Run(c.from+" "+strings.ReplaceAll(c.to, "/", " "), func(t *testing.T) {
			line, _, status := probe(t, e, c.from, c.to)
			if line.Result != c.result {
				t.Errorf("%s (%s), want %s", line.Result, line.Reason, c.result)
			}
			if want := map[bool]int{true: 0, false: 1}[c.result == "reached"]; status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if c.expected == "" {
				return
			}
			if line.Expected == nil || line.Expected.Result != c.expected || line.Expected.Unsure != "" {
				t.Fatalf("expected %+v, want %s", line.Expected, c.expected)
			}
			if c.rule != "" && (line.Expected.Rule == nil || !strings.Contains(line.Expected.Rule.Text, c.rule)) {
				t.Errorf("the rule %+v, want one of %s", line.Expected.Rule, c.rule)
			}
		})
	}
	t.Run("names", func(t *testing.T) {
		for from, want := range map[string]bool{"database": true, "ubuntu": false, "host": false} {
			line, _, _ := probe(t, e, from, "back")
			if line.Address != back.String() || line.Resolves == nil || *line.Resolves != want {
				t.Errorf("from %s: %s, resolves %v; want %v, %v", from, line.Address, line.Resolves, back, want)
			}
		}
	})
	t.Run("dry", func(t *testing.T) {
		counted := func() string {
			out, err := e.Command("iptables-save", "-c").Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		before := counted()
		line, _, status := probe(t, e, "--dry-run", "ubuntu", "back:8000")
		if line.Expected == nil || line.Expected.Result != "dropped" || line.Sent != nil || status != 1 {
			t.Errorf("%+v, status %d", line, status)
		}
		if after := counted(); strip(after) != strip(before) {
			t.Errorf("a rule counted something:\n%s\n%s", before, after)
		}
	})
	t.Run("foretold in full", func(t *testing.T) { foretoldInFull(t, e) })
	t.Run("several", func(t *testing.T) {
		out, errs, status := runProbe(t, e, "--count", "3", "database", "back:8000")
		if n := strings.Count(string(out), "REACHED: back answered"); n != 3 || status != 0 || !strings.Contains(errs, "3 probes: 3 reached; answers after ") {
			t.Errorf("%d answers, status %d:\n%s%s", n, status, out, errs)
		}
	})
	t.Run("connected", func(t *testing.T) { connectWhileIsolated(t, e) })
	t.Run("policy", func(t *testing.T) { checkPolicies(t, e) })
}

// The route that is foretold is what ip route get says; the rules and what they make of the
// addresses are those that the packet then meets.
func foretoldInFull(t *testing.T, e *engine.Engine) {
	line, journeys, _ := probe(t, e, "ubuntu", "198.51.100.7")
	if line.Expected == nil || len(line.Expected.Stages) < 2 {
		t.Fatalf("%+v", line.Expected)
	}
	for i, get := range []*exec.Cmd{
		e.CommandIn("ubuntu", "ip", "-j", "route", "get", "198.51.100.7"),
		e.Command("ip", "-j", "route", "get", "198.51.100.7", "from", ipOf(t, e, "ubuntu", "bridge").String(), "iif", "docker0"),
	} {
		out, err := get.Output()
		if err != nil {
			t.Fatal(err)
		}
		var routes []struct{ Gateway, Dev string }
		decode(t, out, &routes)
		same(t, "route of "+line.Expected.Stages[i].Namespace, line.Expected.Stages[i].Route, route{"198.51.100.7", routes[0].Gateway, routes[0].Dev})
	}
	through := line.Expected.Stages[1]
	x, seen := through.Translations[0], journeys[0].Translations[0]
	if x.Kind != seen.Kind || x.After.Source.IP != seen.After.Source.IP || seen.Rule == nil || x.Rule.Text != seen.Rule.Text {
		t.Errorf("foretold %+v, seen %+v", x, seen)
	}
	out, _, _ := runProbe(t, e, "-v", "--dry-run", "ubuntu", "198.51.100.7")
	for _, words := range []string{"route 198.51.100.7 via 172.17.0.1 dev eth0", "forward accept: -A FORWARD -i docker0 ! -o docker0 -j ACCEPT", "postrouting masquerade: " + x.Rule.Text,
		"in by veth"} {
		if !strings.Contains(unwrapped(out), words) {
			t.Errorf("not %q in\n%s", words, out)
		}
	}
}

// strip leaves out what iptables-save says of itself.
func strip(rules string) string {
	var kept []string
	for line := range strings.Lines(rules) {
		if !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// What is told to do about isolation helps.
func connectWhileIsolated(t *testing.T, e *engine.Engine) {
	out, _, status := runProbe(t, e, "ubuntu", "back:8000")
	const advice = "docker network connect back_net ubuntu"
	if status != 1 || !strings.Contains(string(out), "DROPPED") || !strings.Contains(string(out), advice) {
		t.Fatalf("status %d:\n%s", status, out)
	}
	e.Docker(strings.Fields(advice)[1:]...)
	defer e.Docker("network", "disconnect", "back_net", "ubuntu")
	if line, _, _ := probe(t, e, "ubuntu", "back:8000"); line.Result != "reached" || line.Resolves == nil || !*line.Resolves {
		t.Errorf("connected: %+v", line)
	}
}

func checkPolicies(t *testing.T, e *engine.Engine) {
	policy := func(text string) string {
		path := filepath.Join(t.TempDir(), "paths.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := "back -> database:5432 refused\ndatabase -> back:8000 reached # the application\n\nubuntu -> back:8000 dropped\n"
	out, errs, status := runProbe(t, e, "--file", policy(good))
	if status != 0 || strings.Count(string(out), "ok ") != 3 || !strings.Contains(errs, "3 of 3") {
		t.Errorf("a policy that holds: status %d\n%s%s", status, out, errs)
	}
	out, errs, status = runProbe(t, e, "--file", policy(good+"ubuntu -> database reached\n"))
	if status != 1 || !strings.Contains(string(out), "FAIL ubuntu -> database should be reached, was dropped") || !strings.Contains(errs, "3 of 4") {
		t.Errorf("a policy that does not hold: status %d\n%s%s", status, out, errs)
	}
	gone := policy("nobody -> back reached\nback_net -> back reached\nback -> back_net reached\n" + good)
	for _, args := range [][]string{{"--file", gone}, {"--dry-run", "--file", gone}} {
		out, errs, status = runProbe(t, e, args...)
		for _, words := range []string{
			`FAIL nobody -> back cannot be checked (` + gone + `:1): nothing here is called "nobody"`, "FAIL back_net -> back cannot be checked", "FAIL back -> back_net cannot be checked",
			"ok back -> database:5432 refused", "ok database -> back:8000 reached", "ok ubuntu -> back:8000 dropped",
		} {
			if !strings.Contains(unwrapped(out), words) {
				t.Errorf("%q: not %q", args, words)
			}
		}
		if status != 1 || !strings.Contains(errs, "3 of 6") {
			t.Errorf("%q: status %d\n%s%s", args, status, out, errs)
		}
	}
	out, errs, status = runProbe(t, e, "--json", "--file", policy(good+"ubuntu -> database reached\n"))
	var results []string
	for text := range bytes.Lines(out) {
		jsonltest.Validate(t, text)
		var line struct{ Kind, Result string }
		if decode(t, text, &line); line.Kind == "probe" {
			results = append(results, line.Result)
		}
	}
	if !slices.Equal(results, []string{"refused", "reached", "dropped", "dropped"}) || status != 1 || !strings.Contains(errs, "3 of 4") {
		t.Errorf("in JSON: %q, status %d\n%s", results, status, errs)
	}
}

// A probe sends what it says, once, and nothing else: tcpdump on the host is
// asked what came in from the container.
func TestProbeSendsWhatItSays(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "box")
	e.Run("--name", "front", "--dns", internet.String(), "box") // nothing answers there
	must(t, e.Command("iptables", "-I", "DOCKER-USER", "-d", "198.51.100.7", "-p", "tcp", "-j", "DROP"))
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	front := ipOf(t, e, "front", "bridge").String()
	out, err := e.Command("ip", "-j", "link", "show", "docker0").Output()
	if err != nil {
		t.Fatal(err)
	}
	var bridge []struct{ Ifindex int }
	decode(t, out, &bridge)
	for _, c := range []struct {
		to   string
		want []string
	}{
		{"back", []string{"icmp 8"}},
		{"back:8000", []string{"SYN", "ACK", "RST ACK"}},
		{"back:9", []string{"SYN"}},
		{"back:9/udp", []string{"udp"}},
		{"198.51.100.7:80", []string{"SYN"}}, // a rule drops it, and the kernel would repeat it
		{"server.example", []string{"udp"}},
	} {
		observed := startCase(t, e)
		line, _, _ := probe(t, e, "--timeout", "3s", "front", c.to)
		_, sightings := observed.end()
		var sent []string
		for _, s := range sightings {
			switch {
			case s.Source.IP != front || s.Out || s.Ifindex == bridge[0].Ifindex: // that shows once more what it passes up
			case s.Protocol == 1:
				sent = append(sent, fmt.Sprint("icmp ", s.ICMPType))
			case s.Protocol == 6:
				sent = append(sent, flagWords(s.TCPFlags))
			default:
				sent = append(sent, "udp")
			}
		}
		if !slices.Equal(sent, c.want) {
			t.Errorf("%s: sent %q, want %q", c.to, sent, c.want)
		}
		if queries := fmt.Sprint(line.Queries); (queries != "[]") != (c.to == "server.example") || len(line.Queries) > 0 && queries != "[{198.51.100.7 server.example. A}]" {
			t.Errorf("%s: queries %s", c.to, queries)
		}
	}
}

// flagWords names the flags of a segment (RFC 9293, section 3.1).
func flagWords(flags int) string {
	var words []string
	for i, w := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
		if flags&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}
