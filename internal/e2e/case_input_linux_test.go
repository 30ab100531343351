package e2e

import (
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// TestCaseDroppedAtInputOfAContainer: nothing tracks connections in a container, and its
// own rules stand behind the last tap. iptables-save tells which of them counted.
func TestCaseDroppedAtInputOfAContainer(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	back, inBack := ipOf(t, e, "back", "bridge").String(), inContainer(e, "back")
	must(t, inBack("iptables", "-I", "INPUT", "-p", "icmp", "-j", "DROP"))
	w := startWatch(t, e, "--json", "icmp or udp")
	before := countersOf(t, inBack, "iptables-save")
	if out, err := e.CommandIn("front", "ping", "-c", "1", "-W", "1", back).CombinedOutput(); err == nil {
		t.Fatalf("it was answered: %s", out)
	}
	got := countersOf(t, inBack, "iptables-save").dropper(before)
	must(t, e.CommandIn("front", "bash", "-c", "echo x > /dev/udp/"+back+"/6301"))
	time.Sleep(4 * time.Second)
	all, _ := w.journeys()
	v := &only(t, "request", with(all, func(j *journey) bool { return j.To.IP == back && j.Hops[0].ICMP != nil })).Verdict
	t.Logf("%s by %s [%s] %s", v.Result, v.By, v.Evidence, v.Reason)
	if v.Result != "dropped" || v.Hook != "input" || v.By != "INPUT #1" || v.Rule == nil || !slices.Contains([]string{"evaluated", "counter"}, v.Evidence) {
		t.Fatalf("%+v", *v)
	}
	if said := v.Rule.Table + " " + v.Rule.Text; len(got) != 1 || got[0] != said {
		t.Errorf("natlens says %q, iptables-save that %q counted", said, got)
	}
	if v := only(t, "datagram", with(all, func(j *journey) bool { return j.To.Port == 6301 })).Verdict; v.Result != "delivered" {
		t.Errorf("the rule is not for datagrams: %+v", v)
	}
}

// TestCaseDroppedAtInputInMidFlow: the entry of a ping proves that its first request was
// let in. A rule that comes later drops the next ones, until it is gone; ping tells which
// were answered.
func TestCaseDroppedAtInputInMidFlow(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	w := startWatch(t, e, "--json", "icmp")
	ping := e.CommandIn("front", "ping", "-c", "30", "-i", "0.25", "172.17.0.1")
	out := &safeBuffer{}
	ping.Stdout, ping.Stderr = out, out
	if err := ping.Start(); err != nil {
		t.Fatal(err)
	}
	rule := func(words ...string) *exec.Cmd { return e.Command("iptables", append([]string{"-w"}, words...)...) }
	before := countersOf(t, e.Command, "iptables-save")
	await(t, 10*time.Second, "three answers", func() bool { return strings.Contains(out.String(), "seq=2 ") })
	must(t, rule("-I", "INPUT", "-p", "icmp", "-j", "DROP"))
	time.Sleep(4 * time.Second)
	got := countersOf(t, e.Command, "iptables-save").dropper(before)
	must(t, rule("-D", "INPUT", "-p", "icmp", "-j", "DROP"))
	_ = ping.Wait()
	time.Sleep(4 * time.Second)
	all, _ := w.journeys()
	if len(got) != 1 || got[0] != "filter -A INPUT -p icmp -j DROP" {
		t.Fatalf("iptables-save says that %q counted", got)
	}
	answered, lost, unsure := 0, 0, 0
	for _, j := range with(all, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 }) {
		v, seq := &j.Verdict, j.Hops[0].ICMP.Seq
		if strings.Contains(out.String(), "seq="+strconv.Itoa(seq)+" ") {
			answered++
			if v.Result != "delivered" && v.Reason != "it came to host; whether a rule dropped it there is unknown: the rules changed about that time" {
				t.Errorf("%d was answered: %+v", seq, *v)
			}
			continue
		}
		if lost++; v.Result == "unfinished" || v.Result == "delivered" {
			unsure++ // it came when the rules changed
			continue
		}
		if v.Result != "dropped" || v.Hook != "input" || v.By != "INPUT #1" || !slices.Contains([]string{"evaluated", "counter"}, v.Evidence) {
			t.Errorf("%d was not answered: %+v", seq, *v)
		}
	}
	if t.Logf("%d answered, %d dropped, of which %d are not named", answered, lost, unsure); answered < 4 || lost < 3 || unsure > lost-2 {
		t.Errorf("%d answered, %d dropped, %d not named:\n%s", answered, lost, unsure, out.String())
	}
}
