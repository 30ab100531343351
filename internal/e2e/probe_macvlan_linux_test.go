package e2e

import (
	"testing"

	"natlens/internal/lab/engine"
)

// TestProbeMacvlan: containers on the engine's macvlan reach each other and the
// outside, and neither reaches nor is reached by the host, as was foretold.
func TestProbeMacvlan(t *testing.T) {
	e := engine.Shared(t)
	e.Network("-d", "macvlan", "--subnet", "192.0.2.0/24", "--gateway", "192.0.2.1", "-o", "parent=eth0", "lan")
	e.Run("--name", "camera", "--network", "lan", "--ip", "192.0.2.71", "box")
	e.Run("--name", "printer", "--network", "lan", "--ip", "192.0.2.72", "box")
	for _, c := range []struct{ from, to, result, reason string }{
		{"camera", hostAddress.String(), "unreachable", "camera:eth0 is a macvlan on eth0, and hands nothing to what it stands on"},
		{"host", "192.0.2.71", "unreachable", "camera:eth0 is a macvlan on eth0, and gets nothing that is sent by what it stands on"},
		{"camera", "192.0.2.72", "reached", ""},
	} {
		t.Run(c.from+" "+c.to, func(t *testing.T) {
			line, _, _ := probe(t, e, c.from, c.to)
			if line.Expected == nil || line.AsExpected == nil {
				t.Fatalf("%+v", line)
			}
			same(t, "result", line.Result, c.result)
			same(t, "expected", line.Expected.Result, c.result)
			same(t, "why", line.Expected.Reason, c.reason)
			same(t, "not sure", line.Expected.Unsure, "")
			same(t, "as expected", *line.AsExpected, true)
		})
	}
}
