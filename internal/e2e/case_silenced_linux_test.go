package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// TestCaseAnswerDroppedAtOutput: a request arrives, and its answer is dropped before any
// tap, by the rules of who got it. iptables-save tells which of them counted. While they let
// answers pass nothing is said.
func TestCaseAnswerDroppedAtOutput(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	back, inBack := ipOf(t, e, "back", "bridge").String(), inContainer(e, "back")
	for _, c := range []struct {
		name, to, got string
		rule          []string
		by            string // in the note
		counted       string
	}{
		{"a container's policy", back, "back", []string{"-P", "OUTPUT", "DROP"}, "the policy of OUTPUT", "filter policy of OUTPUT DROP"},
		{"a rule of the host", "172.17.0.1", "host", []string{"-I", "OUTPUT", "-p", "icmp", "-m", "icmp", "--icmp-type", "0", "-j", "DROP"},
			"OUTPUT #1 (-A OUTPUT -p icmp -m icmp --icmp-type 0 -j DROP)", "filter -A OUTPUT -p icmp -m icmp --icmp-type 0 -j DROP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := e.Command
			if c.got == "back" {
				run = inBack
			}
			note := c.got + " got it, but no answer gets out: its own rules drop what it sends back, at output, by " + c.by
			screen := startWatch(t, e, "icmp")
			w := startWatch(t, e, "--json", "icmp")
			must(t, e.CommandIn("front", "ping", "-c", "1", "-W", "2", c.to))
			must(t, run("iptables", append([]string{"-w"}, c.rule...)...))
			isAsked := func(j *journey) bool { return j.To.IP == c.to && j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 }
			noted := func(j *journey) bool { return isAsked(j) && slices.Contains(j.Notes, note) }
			await(t, 30*time.Second, "natlens to have read the rules", func() bool {
				before := countersOf(t, run, "iptables-save")
				if out, err := e.CommandIn("front", "ping", "-c", "1", "-W", "1", c.to).CombinedOutput(); err == nil {
					t.Fatalf("it was answered: %s", out)
				}
				if got := countersOf(t, run, "iptables-save").dropper(before); len(got) != 1 || got[0] != c.counted {
					t.Errorf("iptables-save says that %q counted", got)
				}
				return len(w.shown(noted)) > 0 && strings.Contains(strings.Join(strings.Fields(screen.stdout.String()), " "), note)
			})
			screen.end()
			all, _ := w.journeys()
			asked := with(all, isAsked)
			for i, j := range asked {
				if v := j.Verdict; v.Result != "delivered" || i == 0 && noted(j) || i == len(asked)-1 && !noted(j) {
					t.Errorf("request %d of %d: %s, %s", i+1, len(asked), v.Result, strings.Join(j.Notes, "; "))
				}
			}
		})
	}
}
