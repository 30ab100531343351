package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// IPv6 fragments where bridges ask no rules (bridge-nf-call-ip6tables=0): docker0
// shows the pieces, the host puts them together to translate them and cuts them again
// at the uplink, with another identification.
func TestCaseIPv6FragmentsWithoutBridgeNetfilter(t *testing.T) {
	e := dualHost(t, 18092)
	must(t, e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "5", internet6)) // addresses are tentative at first
	must(t, e.Command("sysctl", "-q", "-w", "net.bridge.bridge-nf-call-ip6tables=0"))
	w := startWatch(t, e, "--json", "ip6")
	identities := fragmentIDs(t, e)
	must(t, e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "3", "-s", "4000", internet6))
	time.Sleep(time.Second)
	all, _ := w.journeys()
	const web = "fd00:1::242:ac11:2"
	large := func(kind int) func(*journey) bool {
		return func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == kind }
	}
	for kind, want := range map[int]struct{ end, translation string }{
		128: {"left at host:eth0 out", "masquerade"}, 129: {"delivered at web:eth0 in", "undo masquerade"},
	} {
		j := single(t, "an echo in pieces", all, large(kind))
		got := lines(j)
		if len(j.Hops) != 12 || j.End() != want.end || len(j.Translations) != 1 || !strings.Contains(got, want.translation+" at ") {
			t.Errorf("type %d:\n%s", kind, got)
		}
		var at []string
		for _, h := range j.Hops {
			at = append(at, h.Namespace+":"+h.Interface+" "+h.Direction)
		}
		slices.Sort(at)
		if points := slices.Compact(at); len(points) != 4 {
			t.Errorf("type %d is seen at %q, want three pieces at each of four points", kind, points)
		}
	}
	inside, outside := identities(web+" > "+internet6), identities(hostAddress6+" > "+internet6)
	if len(inside) != 1 || len(outside) != 1 || inside[0] == outside[0] {
		t.Errorf("tcpdump saw the identifications %v inside and %v outside, want one of each, different", inside, outside)
	}
}
