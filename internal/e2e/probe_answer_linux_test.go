package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
)

// A rule that drops the answer is foretold: at the output of who is asked, where no tap
// sees it, and on the way back. One at FROM's own output is named.
func TestProbeForetellsAnswers(t *testing.T) {
	e := engine.Start(t)
	e.Network("back_net")
	e.Run("--name", "back", "--network", "back_net", "box")
	e.Run("--name", "database", "--network", "back_net", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("database"), 8000)
	rule := func(at func(name string, args ...string) *exec.Cmd, words string) func() {
		must(t, at("iptables", strings.Fields("-I "+words)...))
		return func() { must(t, at("iptables", strings.Fields("-D "+words)...)) }
	}
	inDatabase := func(name string, args ...string) *exec.Cmd { return e.CommandIn("database", name, args...) }
	for _, c := range []struct {
		what     string
		at       func(name string, args ...string) *exec.Cmd
		rule     string
		from, to string
		result   string
		answer   bool
		reason   string
		says     string
	}{
		{"output", inDatabase, "OUTPUT -j DROP", "back", "database", "lost", true, "the answer is dropped at output by OUTPUT, rule 1, in database",
			"it was expected that the answer is dropped at output by OUTPUT, rule 1, in database."},
		{"output, refused", inDatabase, "OUTPUT -p tcp -j DROP", "back", "database:9", "lost", true, "the answer is dropped at output by OUTPUT, rule 1, in database", ""},
		{"of resets only", inDatabase, "OUTPUT -p tcp --tcp-flags RST RST -j DROP", "back", "database:8000", "reached", false, "", "as expected"},
		{"of echoes only", inDatabase, "OUTPUT -p icmp -j DROP", "back", "database:8000", "reached", false, "", "as expected"},
		{"on the way", e.Command, "DOCKER-USER -s 198.51.100.7/32 -m conntrack --ctstate ESTABLISHED -j DROP", "back", "198.51.100.7", "dropped", true,
			"the answer is dropped at forward by DOCKER-USER, rule 1, in host", "the answer was dropped at forward after eth0 by DOCKER-USER #1"},
		{"its own", inDatabase, "OUTPUT -j DROP", "database", "back", "dropped", false, "dropped at output by OUTPUT, rule 1",
			"DROPPED: the kernel did not let it out: dropped at output by OUTPUT, rule 1 [evaluated], as expected."},
	} {
		t.Run(c.what, func(t *testing.T) {
			defer rule(c.at, c.rule)()
			line, _, _ := probe(t, e, c.from, c.to)
			if line.Result != c.result || line.Expected == nil || line.Expected.Answer != c.answer || line.Expected.Reason != c.reason || line.Expected.Unsure != "" {
				t.Errorf("%s (%s), expected %+v; want %s, %q", line.Result, line.Reason, line.Expected, c.result, c.reason)
			}
			if line.AsExpected != nil && !*line.AsExpected {
				t.Errorf("not as expected: %+v", line)
			}
			out, _, _ := runProbe(t, e, c.from, c.to)
			if !strings.Contains(unwrapped(out), c.says) {
				t.Errorf("not %q in\n%s", c.says, out)
			}
		})
	}
}
