package e2e

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// A connection that was open before anybody watched: conntrack(8) knows its entry,
// and so does natlens. Nobody saw which rule translated its first packet, so the one
// that is named was evaluated, and that is said.
func TestCaseConnectionOlderThanTheWatch(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	const port = 8010
	l := &load{t: t, e: e}
	l.answerTCP(e.Internet(), port)
	c := &cast{load: l}
	conn := c.open("older", e.Namespace("back"), 0, netip.AddrPortFrom(internet, port))
	if conn == nil {
		t.FailNow()
	}
	defer conn.Close()
	ask := func() {
		_, err := conn.Write([]byte("more of the same"))
		l.must(err)
		_, err = conn.Read(make([]byte, 100))
		l.must(err)
	}
	ask()
	out, err := e.Command("conntrack", "-L", "-o", "id", "-p", "tcp", "--dport", strconv.Itoa(port)).Output()
	m := regexp.MustCompile(`id=(\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("conntrack: %v: %s", err, out)
	}
	id, _ := strconv.ParseUint(string(m[1]), 10, 64)
	screen := startWatch(t, e, "-v", "tcp")
	w := startWatch(t, e, "--json", "tcp")
	for range 10 {
		ask()
	}
	time.Sleep(time.Second)
	all, _ := w.journeys()
	screen.end()
	asked := with(all, func(j *journey) bool { return j.To.Port == port })
	answered := with(all, func(j *journey) bool { return j.From.Port == port })
	if len(asked) < 10 || len(answered) < 10 {
		t.Fatalf("%d journeys out, %d back", len(asked), len(answered))
	}
	for i, j := range append(asked, answered...) {
		direction, end, undo := "original", "left at host:eth0 out", false
		if i >= len(asked) {
			direction, end, undo = "reply", "delivered at back:eth0 in", true
		}
		same(t, "direction", j.Direction, direction)
		same(t, "end", j.End(), end)
		if len(j.Flows) != 1 || j.Flows[0].ID != id {
			t.Errorf("flows %+v, conntrack has %d", j.Flows, id)
		}
		if len(j.Translations) != 1 {
			t.Fatalf("%s: %+v", shape(j), j.Translations)
		}
		tr := &j.Translations[0]
		if tr.Kind != "masquerade" || tr.Undo != undo || tr.Evidence != "conntrack" || tr.ConntrackID != id || tr.Rule == nil || tr.Rule.Chain != "POSTROUTING" || tr.Rule.Evidence != "evaluated" {
			t.Errorf("%s: %+v, rule %+v", shape(j), *tr, tr.Rule)
		}
	}
	text := screen.stdout.String()
	t.Log(text)
	words := strings.Join(strings.Fields(text), " ")
	says(t, "screen", words, "[conntrack "+string(m[1])+"]", "evaluated]", "-j MASQUERADE")
	if n := strings.Count(words, "this flow began unseen: "); n != 2 {
		t.Errorf("the screen says %d times that nobody saw it begin, want once for each direction", n)
	}
}

// A rule that is taken away while its flow goes on: the flow stays translated, as the
// kernel asks NAT for its first packet alone, and that is said. A flow that nobody saw
// begin, and that no rule of now would translate, says so, too.
func TestCaseRuleTakenAwayUnderAFlow(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "box", "ping", "-i", "0.2", internet.String())
	first := startWatch(t, e, "--json", "icmp")
	first.awaitJourneys(4)
	const rule = "POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
	iptables := func(verb string) {
		must(t, e.Command("iptables", append([]string{"-w", "-t", "nat", verb}, strings.Fields(rule)...)...))
	}
	iptables("-D")
	await(t, 20*time.Second, "a word on the rule that went", func() bool {
		return strings.Contains(first.stdout.String(), "the rule that translated this flow's first packet is gone")
	})
	first.end()
	second := startWatch(t, e, "--json", "icmp")
	second.awaitJourneys(4)
	all, _ := second.journeys()
	requests := with(all, func(j *journey) bool { return j.Direction == "original" && len(j.Translations) == 1 })
	if len(requests) == 0 {
		t.Fatal("no translated request")
	}
	says(t, "notes", strings.Join(requests[0].Notes, "; "), "no rule of now would translate this flow's first packet")
	if tr := requests[0].Translations[0]; tr.Rule != nil || tr.Kind != "snat" || tr.Evidence != "conntrack" {
		t.Errorf("%+v", tr)
	}
	iptables("-A")
}

// A container pings on while networks are connected to it and taken away, and while
// it is restarted; another then gets its address. Each packet's journey names who
// sent it, or got it, at that time, and nothing that Docker does is called a drop or
// a leak.
func TestCaseContainersThatChangeUnderWay(t *testing.T) {
	e := engine.Shared(t)
	e.Network("second_net")
	// The size says who: 28 bytes more are headers.
	pings := func(name string, size int) {
		e.Run("--name", name, "box", "sh", "-c", "while :; do ping -q -c 4 -W 1 -s "+strconv.Itoa(size)+" "+internet.String()+"; done")
	}
	w := startWatch(t, e, "--json", "--events")
	whole := func(name string, size int) func() bool {
		return func() bool {
			return strings.Contains(w.stdout.String(), `"length":`+strconv.Itoa(size+28)+`,`) && strings.Contains(w.stdout.String(), `"name":"`+name+`"`)
		}
	}
	event := func(object, action, name string) {
		t.Helper()
		await(t, 20*time.Second, object+" "+name+" "+action, func() bool {
			for _, ev := range w.events() {
				if ev.Object == object && ev.Action == action && ev.Name == name {
					return true
				}
			}
			return false
		})
	}
	pings("first", 101)
	event("container", "came", "first")
	await(t, 20*time.Second, "first's pings", whole("first", 101))
	e.Docker("network", "connect", "second_net", "first")
	await(t, 20*time.Second, "first's second link", func() bool { return strings.Contains(w.stdout.String(), `"name":"eth1"`) })
	time.Sleep(1200 * time.Millisecond)
	e.Docker("network", "disconnect", "second_net", "first")
	time.Sleep(1200 * time.Millisecond)
	was := ipOf(t, e, "first", "bridge")
	e.Docker("restart", "-t", "0", "first")
	time.Sleep(2500 * time.Millisecond)
	same(t, "first's address", ipOf(t, e, "first", "bridge"), was)
	e.Docker("rm", "-f", "first")
	event("container", "went", "first")
	pings("second", 102)
	same(t, "second's address", ipOf(t, e, "second", "bridge"), was)
	await(t, 20*time.Second, "second's pings", whole("second", 102))
	time.Sleep(2500 * time.Millisecond)
	e.Docker("rm", "-f", "second")
	time.Sleep(time.Second)
	events := w.events()
	all, _ := w.journeys()
	for _, ev := range events {
		if ev.Object == "container" || ev.Object == "link" {
			t.Logf("%s %s %s in %s: %s", ev.Object, ev.Name, ev.Action, ev.Namespace, ev.Detail)
		}
	}

	// An answer to the one who had the address before comes to who has it now.
	late := func(j *journey, name string) bool {
		return name == "first" && j.Hops[0].ICMP.Type == 0 && j.To.Name == "second"
	}
	sent, early := map[string]int{}, 0
	for i := range all {
		j := &all[i]
		name := map[int]string{129: "first", 130: "second"}[j.Hops[0].Length]
		if name == "" || j.Hops[0].ICMP == nil {
			continue
		}
		end := &j.From
		if j.Hops[0].ICMP.Type == 0 {
			end = &j.To
		}
		// Before the engine tells of the container, its namespace has the name of
		// the engine's mount.
		named := end.Name == name
		if !named && end.Name != "" && !strings.HasPrefix(end.Name, "docker-") && !late(j, name) {
			t.Errorf("a packet of %s is said to be of %s: %s", name, end.Name, shape(j))
		}
		if j.Verdict.Result == "dropped" || j.Verdict.Leak {
			t.Errorf("%s: %+v", shape(j), j.Verdict)
		}
		if j.Hops[0].ICMP.Type != 8 {
			continue
		}
		sent[name]++
		if j.Hops[0].Namespace == "host" {
			early++
			if named {
				says(t, "notes of "+shape(j), strings.Join(j.Notes, "; "), "container side not watched yet: "+name)
			}
		}
		t.Logf("%v %s %s > %s | %s | %s %s | %s", j.Hops[0].Time.Format("05.000"), name, j.From.Name, j.To.Name, shape(j), j.Verdict.Result, j.Verdict.Reason, strings.Join(j.Notes, "; "))
	}
	if sent["first"] < 6 || sent["second"] < 2 {
		t.Errorf("packets seen: %v", sent)
	}
	t.Logf("%v packets, %d before the container's ring", sent, early)
}
