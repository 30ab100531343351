package e2e

import (
	"fmt"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// A masquerade with one port, and two datagrams that want it: the second passes all rules
// and is dropped by connection tracking, as conntrack -S counts.
func TestCasePortsUsedUp(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "box")
	must(t, e.Command("iptables", "-t", "nat", "-I", "POSTROUTING", "-o", "eth0", "-p", "udp", "-j", "MASQUERADE", "--to-ports", "40000-40000"))
	screen, w := startWatch(t, e, "udp"), startWatch(t, e, "--json", "udp")
	time.Sleep(1500 * time.Millisecond) // the statistics are read once before
	for range 2 {
		must(t, e.CommandIn("back", "bash", "-c", "echo x > /dev/udp/198.51.100.9/7001"))
	}
	time.Sleep(4 * time.Second)
	screen.end()
	all, _ := w.journeys()
	t.Log(screen.stdout.String())
	found := with(all, func(j *journey) bool { return j.Hops[0].Destination.Port == 7001 })
	ends := map[string]int{}
	for _, j := range found {
		ends[fmt.Sprintf("%s by %q [%s]", j.Verdict.Result, j.Verdict.By, j.Verdict.Evidence)]++
		if j.Verdict.Result == "dropped" {
			says(t, "reason", j.Verdict.Reason, "connection tracking could not insert the entry, as another flow had the same addresses and ports (insert_failed)", "it dropped one packet")
		}
	}
	if len(found) != 2 || ends[`left by "" [tap]`]+ends[`left by "" [conntrack]`] != 1 || ends[`dropped by "connection tracking" [inferred]`] != 1 {
		t.Errorf("%v", ends)
	}
}
