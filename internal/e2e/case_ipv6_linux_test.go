package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

const (
	hostAddress6 = "2001:db8::10"
	internet6    = "2001:db8::1"
)

// dualHost is a host whose engine gives containers IPv6 and translates it, with
// a container "web" that publishes a port, and the internet on IPv6.
func dualHost(t *testing.T, port int) *engine.Engine {
	e := engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	run := func(cmd *exec.Cmd) {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	run(e.Command("ip", "-6", "address", "add", hostAddress6+"/64", "dev", "eth0", "nodad"))
	run(e.CommandOutside("ip", "-6", "address", "add", internet6+"/64", "dev", "eth0", "nodad"))
	run(e.Command("ip", "-6", "route", "add", "default", "via", internet6))
	e.Run("--name", "web", "-p", fmt.Sprintf("%d:80", port), "box", "httpd", "-f", "-p", "[::]:80", "-h", "/www")
	return e
}

// lines is a journey as the tests write it down: where it was seen, how it
// ended, and what changed.
func lines(j *journey) string {
	text := j.Path() + "\n" + j.End() + " [" + j.Verdict.Evidence + "]"
	for _, x := range j.Translations {
		undo := ""
		if x.Undo {
			undo = "undo "
		}
		rule := "no rule"
		if x.Rule != nil {
			rule = x.Rule.Chain
		}
		text += fmt.Sprintf("\n%s%s at %s by %s [%s]", undo, x.Kind, x.Hook, rule, x.Evidence)
	}
	return text
}

// single returns the one journey that ok picks.
func single(t *testing.T, what string, all []journey, ok func(*journey) bool) *journey {
	t.Helper()
	found := with(all, ok)
	if len(found) != 1 {
		for i := range all {
			t.Logf("#%d %s %s\n%s", all[i].ID, all[i].Protocol, all[i].Info, lines(&all[i]))
		}
		t.Fatalf("%s: %d journeys, want 1", what, len(found))
	}
	return found[0]
}

// holds compares what is written down of a journey with what must be; VETH
// stands for the name that the engine gave.
func holds(t *testing.T, what string, j *journey, want string) {
	t.Helper()
	got := lines(j)
	for _, h := range j.Hops {
		if strings.HasPrefix(h.Interface, "veth") {
			got = strings.ReplaceAll(got, h.Interface, "VETH")
		}
	}
	if got != want {
		t.Errorf("%s\n%s\nwant\n%s", what, got, want)
	}
}

// fragmentIDs starts a tcpdump on the host and returns what tells which
// identifications the IPv6 fragments between two addresses had.
func fragmentIDs(t *testing.T, e *engine.Engine) func(between string) []string {
	cmd := e.Command("tcpdump", "-i", "any", "-n", "-v", "-l", "--immediate-mode", "-Z", "root", "ip6[6] == 44")
	out, said := &safeBuffer{}, &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(said.String(), "listening on") })
	return func(between string) (ids []string) {
		for line := range strings.Lines(out.String()) {
			_, after, ok := strings.Cut(line, "frag (")
			if id, _, _ := strings.Cut(after, ":"); ok && strings.Contains(line, between) && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
}

func TestIPv6ThroughTheEngine(t *testing.T) {
	const port = 18090
	e := dualHost(t, port)
	// Addresses are tentative at first (RFC 4862): what waits for them is sent again.
	fetched(t, e.CommandOutside("curl", "-sS", "-g", "-m", "5", fmt.Sprintf("http://[%s]:%d/test", hostAddress6, port)))
	w := startWatch(t, e, "--json", "ip6")
	identities := fragmentIDs(t, e)
	fetched(t, e.CommandOutside("curl", "-sS", "-g", "-m", "5", fmt.Sprintf("http://[%s]:%d/test", hostAddress6, port)))
	for _, cmd := range []*exec.Cmd{
		e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "3", internet6),
		e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "3", "-s", "4000", internet6),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	// It ends with an error: the hop limit is too small. Nobody listens to the datagram.
	_ = e.CommandIn("web", "ping", "-6", "-n", "-c", "1", "-W", "1", "-t", "1", internet6).Run()
	_ = e.CommandIn("web", "bash", "-c", "echo x > /dev/udp/"+internet6+"/9").Run()
	time.Sleep(time.Second) // libpcap's last block comes late
	all, _ := w.journeys()
	const web = "fd00:1::242:ac11:2"
	echo := func(kind int, long, expired bool) func(*journey) bool {
		return func(j *journey) bool {
			h := &j.Hops[0]
			return h.ICMP != nil && h.ICMP.Type == kind && (h.Length > 1000) == long && (j.Verdict.Result == "dropped") == expired
		}
	}
	out := "web:eth0 out " + web + " > " + internet6 + "\nhost:VETH in " + web + " > " + internet6 + "\n"
	back := "host:docker0 out " + internet6 + " > " + web + "\nhost:VETH out " + internet6 + " > " + web + "\nweb:eth0 in " + internet6 + " > " + web + "\n"
	bridge, uplink := "host:docker0 in "+web+" > "+internet6+"\n", "host:eth0 out "+hostAddress6+" > "+internet6+"\n"
	arrived := "host:eth0 in " + internet6 + " > " + hostAddress6 + "\n"
	const nat66, unNAT66 = "masquerade at postrouting by POSTROUTING [conntrack]", "undo masquerade at prerouting by POSTROUTING [conntrack]"

	holds(t, "an echo request", single(t, "an echo request", all, echo(128, false, false)), out+bridge+uplink+"left at host:eth0 out [tap]\n"+nat66)
	holds(t, "an echo reply", single(t, "an echo reply", all, echo(129, false, false)), arrived+back+"delivered at web:eth0 in [tap]\n"+unNAT66)
	large := single(t, "an echo request in pieces", all, echo(128, true, false))
	holds(t, "an echo request in pieces", large, out+out+out+bridge+uplink+uplink+uplink+"left at host:eth0 out [tap]\n"+nat66)
	// Which piece is where first is chance.
	answer := single(t, "an echo reply in pieces", all, echo(129, true, false))
	if got, n := answer.Path(), len(answer.Hops); n != 12 || strings.Count(got, strings.TrimSpace(arrived)) != 3 || strings.Count(got, "web:eth0 in "+internet6+" > "+web) != 3 ||
		answer.Verdict.Result != "delivered" || len(answer.Translations) != 1 {
		t.Errorf("an echo reply in pieces:\n%s", lines(answer))
	}
	// It was the hard case: the identification really changed on the way.
	if inside, outside := identities(web+" > "+internet6), identities(hostAddress6+" > "+internet6); len(inside) != 1 || len(outside) != 1 || inside[0] == outside[0] {
		t.Errorf("tcpdump saw the identifications %v inside and %v outside, want one of each, different", inside, outside)
	}

	expired := single(t, "a hop limit of 1", all, echo(128, false, true))
	if !strings.Contains(expired.Verdict.Reason, "time to live exceeded, says fd00:1::1") || expired.Verdict.Evidence != "reply" {
		t.Errorf("a hop limit of 1: %+v", expired.Verdict)
	}
	asked := single(t, "a datagram", all, func(j *journey) bool { return j.Protocol == "udp" && j.To.IP == internet6 && j.To.Port == 9 })
	refusal := single(t, "port unreachable", all, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 1 })
	holds(t, "port unreachable", refusal, arrived+back+"delivered at web:eth0 in [tap]\n"+unNAT66)
	if len(refusal.Related) != 1 || refusal.Related[0].ID != asked.ID || refusal.Related[0].Why != "error_about" {
		t.Errorf("port unreachable is related to %v, want #%d", refusal.Related, asked.ID)
	}
	begun := single(t, "a connection from outside", all, func(j *journey) bool { return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == syn })
	holds(t, "a connection from outside", begun, arrived+back+"delivered at web:eth0 in [tap]\ndnat at prerouting by DOCKER [conntrack]")
}
