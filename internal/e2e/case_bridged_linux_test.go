package e2e

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
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

// TestCaseBridgeWithoutAPort: the link of a container is down, or is up and its port of the
// bridge is not. What its neighbour sends goes nowhere, as ip tells, and no route or
// setting has a part in it.
func TestCaseBridgeWithoutAPort(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	back, mac, port := ipOf(t, e, "back", "bridge").String(), macOf(t, inContainer(e, "back"), "eth0"), vethOf(t, e, "back", "eth0")
	must(t, e.CommandIn("front", "ip", "neighbour", "replace", back, "lladdr", mac, "dev", "eth0", "nud", "permanent"))
	must(t, e.Command("ip", "neighbour", "replace", back, "lladdr", mac, "dev", "docker0", "nud", "permanent"))
	for _, c := range []struct {
		name string
		down []string
		says string
	}{
		{"its link", []string{"back", "eth0"}, "eth0 of back, which has its MAC address, is down"},
		{"the port", []string{"", port}, port + ", behind which its MAC address is, is down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := e.Command
			if c.down[0] != "" {
				run = inContainer(e, c.down[0])
			}
			w := startWatch(t, e, "--json", "icmp")
			must(t, run("ip", "link", "set", c.down[1], "down"))
			t.Cleanup(func() { must(t, run("ip", "link", "set", c.down[1], "up")) })
			time.Sleep(2 * time.Second) // until natlens has heard of it
			for _, from := range []func(string, ...string) *exec.Cmd{inContainer(e, "front"), e.Command} {
				if out, err := from("ping", "-c", "1", "-W", "1", back).CombinedOutput(); err == nil {
					t.Fatalf("it was answered: %s", out)
				}
			}
			time.Sleep(4 * time.Second)
			all, _ := w.journeys()
			found := with(all, func(j *journey) bool { return j.To.IP == back && j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 })
			if len(found) != 2 {
				t.Fatalf("%d requests, want that of front and that of the host", len(found))
			}
			for _, j := range found {
				// What the host sends, the bridge tries by front's port.
				want := "dropped docker0 sends it nowhere: " + c.says
				if len(j.Hops) == 3 {
					want = "vanished its MAC address is another's: not accepted here: " + c.says
				}
				if v := &j.Verdict; v.Result+" "+v.Reason != want || v.Hook != "" {
					t.Errorf("%s: %+v", shape(j), *v)
				}
			}
		})
	}
}
