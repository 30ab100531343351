package e2e

import (
	"testing"

	"natlens/internal/lab/engine"
)

// Links that are down are foretold to let nothing pass, and nothing does.
func TestProbeLinkDown(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	e.Run("--name", "database", "box")
	port := ""
	line, journeys, _ := probe(t, e, "database", "back") // they know each other's MAC address, then
	if line.Result != "reached" || len(journeys) == 0 || len(journeys[0].Hops) < 2 {
		t.Fatalf("%+v", line)
	}
	port = journeys[0].Hops[1].Interface
	is := func(reason string) {
		t.Helper()
		line, _, _ := probe(t, e, "database", "back")
		if line.Expected == nil || line.Expected.Result != "unreachable" || line.Expected.Reason != reason || line.Result != "unreachable" || line.AsExpected == nil || !*line.AsExpected {
			t.Errorf("%s (%s), expected %+v; want unreachable: %s", line.Result, line.Reason, line.Expected, reason)
		}
	}
	must(t, e.Command("ip", "link", "set", port, "down"))
	is(port + " is down")
	must(t, e.Command("ip", "link", "set", port, "up"))
	must(t, e.CommandIn("back", "ip", "link", "set", "eth0", "down"))
	is("back:eth0 is down")
}
