package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCaseDroppedAcrossABridge6: bridge netfilter shows frames of IPv6 to ip6tables, and
// nothing there tracks connections. ip6tables-save tells which rule counted.
func TestCaseDroppedAcrossABridge6(t *testing.T) {
	e := dualHost(t, 8000)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	must(t, e.Command("ip6tables", "-I", "FORWARD", "-p", "ipv6-icmp", "--icmpv6-type", "echo-request", "-j", "DROP"))
	to := strings.TrimSpace(e.Docker("inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}", "back"))
	w := startWatch(t, e, "--json", "icmp6")
	before := countersOf(t, e.Command, "ip6tables-save")
	if out, err := e.CommandIn("front", "ping", "-6", "-c", "1", "-W", "1", to).CombinedOutput(); err == nil {
		t.Fatalf("it was answered: %s", out)
	}
	got := countersOf(t, e.Command, "ip6tables-save").dropper(before)
	time.Sleep(4 * time.Second)
	all, _ := w.journeys()
	j := only(t, "request", with(all, func(j *journey) bool { return j.To.IP == to && j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 128 }))
	v := &j.Verdict
	t.Logf("%s by %s [%s] %s", v.Result, v.By, v.Evidence, v.Reason)
	if v.Result != "dropped" || v.By != "FORWARD #1" || v.Rule == nil || !slices.Contains([]string{"evaluated", "counter"}, v.Evidence) {
		t.Fatalf("%+v", *v)
	}
	if last := j.Hops[len(j.Hops)-1]; last.Interface != vethOf(t, e, "front", "eth0") {
		t.Errorf("last seen at %s:%s", last.Namespace, last.Interface)
	}
	if said := v.Rule.Table + " " + v.Rule.Text; len(got) != 1 || got[0] != said {
		t.Errorf("natlens says %q, ip6tables-save that %q counted", said, got)
	}
}
