package e2e

import (
	"context"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/internal/lab/labtest"
)

// A bridge that does not know behind which port an address is sends a frame to
// all of them. Only who has the address takes it.
func TestCaseFlood(t *testing.T) {
	e := engine.Shared(t)
	for _, name := range []string{"back", "database", "front"} {
		e.Run("--name", name, "box")
	}
	back, database := e.Namespace("back"), ipOf(t, e, "database", "bridge")
	veth := func(name string) string { return "host:" + vethOf(t, e, name, "eth0") }
	// reaches are all points of a flood that begins in back.
	reaches := []string{"back:eth0 out", veth("back") + " in", veth("database") + " out", "database:eth0 in", veth("front") + " out", "front:eth0 in"}
	checkPlaces := func(t *testing.T, j *journey, want ...string) {
		t.Helper()
		got := strings.Split(places(j), ", ")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("seen at %q, want %q", got, want)
		}
	}

	t.Run("unknown unicast", func(t *testing.T) {
		// Without a memory the bridge knows nobody.
		ageing := func(time string) {
			must(t, e.Command("ip", "link", "set", "docker0", "type", "bridge", "ageing_time", time))
		}
		ageing("0")
		t.Cleanup(func() { ageing("30000") })
		must(t, e.Command("ip", "link", "set", "docker0", "type", "bridge", "fdb_flush"))
		c := startExactCase(t, e, "back", "database", "front")
		(&load{t: t, e: e}).pings(back, database, 7100, 1)
		journeys := c.end()
		request := only(t, "request", echoes(journeys, 8, 7100))
		checkPlaces(t, request, reaches...)
		same(t, "request", request.End(), "delivered at database:eth0 in")
		mac := inspect(t, e, "database").Net.Networks["bridge"].MacAddress
		same(t, "notes", strings.Join(request.Notes, "; "), "flooded: docker0 did not know behind which port "+mac+" is, so front got it, too, and ignored it")
		same(t, "answer", only(t, "answer", echoes(journeys, 0, 7100)).End(), "delivered at back:eth0 in")
	})
	t.Run("nobody's address", func(t *testing.T) {
		const mac = "02:42:ac:11:00:63"
		must(t, e.CommandIn("back", "ip", "neigh", "replace", "172.17.0.99", "lladdr", mac, "dev", "eth0"))
		c := startCase(t, e)
		u, err := lab.DialUDP(back, netip.MustParseAddrPort("0.0.0.0:38000"), netip.MustParseAddrPort("172.17.0.99:9"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.Write([]byte("to nobody"))
		(&load{t: t}).must(err)
		u.Close()
		time.Sleep(4 * time.Second) // it is waited for
		journeys, _ := c.end()
		j := only(t, "datagram", with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 38000 }))
		checkPlaces(t, j, reaches...)
		same(t, "end", j.End(), "flooded")
		says(t, "reason", j.Verdict.Reason, "docker0 did not know behind which port "+mac+" is", "sent it out by 2", "whose MAC address is another", "database", "front")
	})
	t.Run("broadcast", func(t *testing.T) {
		c := startCase(t, e)
		_ = e.CommandIn("back", "ping", "-b", "-c", "1", "-W", "1", "172.17.255.255").Run() // nobody answers
		journeys, sightings := c.end()
		j := only(t, "request", with(journeys, func(j *journey) bool { return j.To.IP == "172.17.255.255" }))
		onHost := func(h oracletest.Hop) bool { return h.Namespace != "host" }
		if hops := slices.DeleteFunc(slices.Clone(j.Hops), onHost); len(hops) != len(sightings) {
			t.Errorf("%d hops on the host, tcpdump saw %v", len(hops), sightings)
		}
		checkPlaces(t, j, append([]string{"host:docker0 in"}, reaches...)...)
		same(t, "end", j.End(), "flooded")
		says(t, "reason", j.Verdict.Reason, "to ", "host", "database", "front")
		for _, h := range j.Hops {
			if h.Direction == "in" {
				same(t, "packet type at "+h.Namespace+":"+h.Interface, h.PacketType, "broadcast")
			}
		}
	})
}

// resolution is a line of kind "event" about address resolution.
type resolution struct {
	event
	Interface, Direction string
	Source, Destination  struct{ IP string }
	Target               string
}

// heard are the points at which tcpdump saw what matches and has those words in what
// tcpdump -v makes of it: "eth0 out", once for each packet.
func heard(t *testing.T, prepare func(string, ...string) *exec.Cmd, filter, words string) (points func() []string) {
	t.Helper()
	cmd := prepare("tcpdump", "-i", "any", "-n", "-v", "-l", "--immediate-mode", "-Z", "root", filter)
	out, said := &safeBuffer{}, &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(said.String(), "listening on") })
	return func() (all []string) { // line by line, so that nothing is lost by ending it
		t.Helper()
		labtest.Idle(t, cmd.Process.Pid)
		at := ""
		for line := range strings.Lines(out.String()) {
			if m := point.FindStringSubmatch(line); m != nil {
				at = m[1] + " " + map[bool]string{true: "out", false: "in"}[m[2] == "Out"]
			}
			if at != "" && strings.Contains(line, words) { // which may be in the packet's second line
				all = append(all, at)
				at = ""
			}
		}
		slices.Sort(all)
		return all
	}
}

var point = regexp.MustCompile(`^\S+ (\S+)\s+(In|Out|B|M|P)\s`)

// ARP and neighbour discovery are events: who asks for whose MAC address, where.
func TestCaseAddressResolution(t *testing.T) {
	e := dualHost(t, 18091)
	e.Run("--name", "database", "box")
	for name, c := range map[string]struct {
		object, filter, from, to string
		flush                    []string
		actions                  [2]string
		says                     []string
	}{
		"ARP": {"arp", "arp host 172.17.0.3", "172.17.0.2", "172.17.0.3", []string{"neigh", "flush", "all"}, [2]string{"request", "reply"},
			[]string{"host docker0 in ARP who has 172.17.0.3? tell 172.17.0.2", "web eth0 in ARP 172.17.0.3 is at 02:42:ac:11:00:03"}},
		"neighbour discovery": {"neighbour", "icmp6 and (ip6[40] == 135 or ip6[40] == 136) and host fd00:1::242:ac11:2",
			"fd00:1::242:ac11:2", "fd00:1::242:ac11:3", []string{"-6", "neigh", "flush", "all"}, [2]string{"solicitation", "advertisement"},
			[]string{"neighbour discovery: who has fd00:1::242:ac11:3? tell fd00:1::242:ac11:2", "neighbour discovery: fd00:1::242:ac11:3 is at 02:42:ac:11:00:03"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			// The first ping of an address that is tentative still (RFC 4862) may be lost.
			for ctx.Err() == nil && e.CommandIn("web", "ping", "-n", "-c", "1", "-W", "1", c.to).Run() != nil {
			}
			// Who answered asks back some seconds later whether it still is the right address.
			must(t, e.CommandIn("database", "ip", "neigh", "replace", c.from, "lladdr", macOf(t, inContainer(e, "web"), "eth0"), "dev", "eth0", "nud", "permanent"))
			oracles := map[string]func() []string{"host": heard(t, e.Command, c.filter, "")}
			for _, name := range []string{"web", "database"} {
				oracles[name] = heard(t, func(program string, args ...string) *exec.Cmd { return e.CommandIn(name, program, args...) }, c.filter, "")
			}
			w := startWatch(t, e, "--json", "--events")
			shown := startWatch(t, e, "--events")
			must(t, e.CommandIn("web", "ip", c.flush...))
			must(t, e.CommandIn("web", "ping", "-n", "-c", "1", "-W", "3", c.to))
			time.Sleep(time.Second)
			w.end()
			shown.end()
			seen := map[string][]string{}
			asked, answered := 0, 0
			for line := range strings.Lines(w.stdout.String()) {
				var r resolution
				decode(t, []byte(line), &r)
				if r.Kind != "event" || r.Object != c.object || r.Source.IP != c.from && r.Destination.IP != c.from {
					continue
				}
				seen[r.Namespace] = append(seen[r.Namespace], r.Interface+" "+r.Direction)
				if r.Object == "neighbour" && r.Target != c.to {
					t.Errorf("%s is about %s, want %s", r.Action, r.Target, c.to)
				}
				switch {
				case r.Action == c.actions[0] && r.Source.IP == c.from:
					asked++
				case r.Action == c.actions[1] && r.Destination.IP == c.from:
					answered++
				}
			}
			for ns, points := range oracles {
				slices.Sort(seen[ns])
				if want := points(); !slices.Equal(seen[ns], want) || len(want) == 0 {
					t.Errorf("%s: events at %q, tcpdump saw %q", ns, seen[ns], want)
				}
			}
			if asked == 0 || answered == 0 {
				t.Errorf("%d sightings of questions, %d of answers", asked, answered)
			}
			says(t, "watch --events", shown.stdout.String(), c.says...)
		})
	}
}
