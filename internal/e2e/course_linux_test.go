package e2e

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// The course: what a person who learns Docker's networks does, one after the
// other, and what list, explain and watch must say about it.

// noHop stands for the side of a translation that no tap saw.
const noHop = -1

// outside is what the namespace behind the uplink is called: by where it is
// bound, as it has no container.
func outside(e *engine.Engine) string { return filepath.Base(e.InternetPath()) }

// awaitJourneys waits until so many have been printed.
func (w *watch) awaitJourneys(n int) {
	w.t.Helper()
	await(w.t, 10*time.Second, "journeys", func() bool { return strings.Count(w.stdout.String(), `"kind":"journey"`) >= n })
}

func TestCourseNone(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "silent", "--network", "none", "box")
	l := list(t, e)
	c := checkContainer(t, e, l, "silent")
	same(t, "networks", c.Networks[0].Name, "none")
	for _, link := range l.Links {
		if link.Namespace == "silent" && link.Name != "lo" || link.Peer != nil && link.Peer.Namespace == "silent" {
			t.Errorf("silent has more than its loopback: %+v", link)
		}
	}
	says(t, "explain", tell(t, e, "explain", "silent"), "no link but its loopback", "nobody reaches it", "NOT eth0")
	says(t, "list containers", tell(t, e, "list", "containers"), "silent box none - - -")

	w := startWatch(t, e, "--json", "icmp")
	in := e.Namespace("silent")
	if _, err := lab.Ping(context.Background(), in, internet, lab.Echo{ID: 3001, Seq: 1}); err == nil {
		t.Fatal("a container without a network reached the internet")
	}
	(&load{t: t, e: e}).pings(in, netip.MustParseAddr("127.0.0.1"), 3002, 1)
	w.awaitJourneys(2)
	all, _ := w.journeys()
	same(t, "journeys of what could not be sent", len(echoes(all, 8, 3001)), 0)
	story{
		from: "silent", to: "silent", end: "delivered at silent:lo in",
		hops: []string{"silent:lo out 127.0.0.1 > 127.0.0.1", "silent:lo in 127.0.0.1 > 127.0.0.1"},
	}.check(t, "ping of itself", only(t, "ping of itself", echoes(all, 8, 3002)), nil)
}

func TestCourseHost(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "hosted", "--network", "host", "box")
	l := list(t, e)
	c := checkContainer(t, e, l, "hosted")
	same(t, "namespace of hosted", c.NamespaceInode, uint64(e.Host().ID()))
	same(t, "namespace of hosted", c.Namespace, "host")
	sameJSON(t, "containers of eth0", l.link(t, "host", "eth0").Containers, []string{"hosted"})
	same(t, "role of eth0", l.link(t, "host", "eth0").Role, "uplink")
	says(t, "explain", tell(t, e, "explain", "hosted"),
		"no network namespace of its own", "no veth, no bridge and no NAT", "-p has no effect")

	w := startWatch(t, e, "--json", "icmp")
	e.Docker("exec", "hosted", "ping", "-c", "1", "-W", "3", internet.String())
	w.awaitJourneys(2)
	all, _ := w.journeys()
	story{
		from: "host", to: outside(e), end: "left at host:eth0 out",
		hops: []string{"host:eth0 out 192.0.2.10 > 198.51.100.7"},
	}.check(t, "request", only(t, "request", with(all, func(j *journey) bool { return j.Hops[0].ICMP.Type == 8 })), nil)
	story{
		from: outside(e), to: "host", end: "delivered at host:eth0 in",
		hops: []string{"host:eth0 in 198.51.100.7 > 192.0.2.10"},
	}.check(t, "answer", only(t, "answer", with(all, func(j *journey) bool { return j.Hops[0].ICMP.Type == 0 })), nil)
}

func TestCourseBridgeByAddress(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "ubuntu", "box")
	e.Run("--name", "back", "box")
	ubuntu, back := ipOf(t, e, "ubuntu", "bridge"), ipOf(t, e, "back", "bridge")
	u, b := vethOf(t, e, "ubuntu", "eth0"), vethOf(t, e, "back", "eth0")
	rules := iptablesSave(t, e.Command)
	masquerade := rules.one(t, "-A POSTROUTING -s 172.17.0.0/16 ", "-j MASQUERADE")

	l := list(t, e)
	for _, name := range []string{"ubuntu", "back"} {
		checkContainer(t, e, l, name)
		checkCable(t, e, l, name, "eth0", "bridge")
	}
	says(t, "explain ubuntu", tell(t, e, "explain", "ubuntu"),
		u, "docker0", ubuntu.String()+"/16", "gateway "+inspect(t, e, "ubuntu").Net.Networks["bridge"].Gateway,
		"back ("+back.String()+")", masquerade, ubuntu.String()+" becomes "+hostAddress.String(), "No port is published")
	says(t, "explain "+b, tell(t, e, "explain", b), "back", "eth0", "docker0")
	says(t, "explain bridge", tell(t, e, "explain", "bridge"), "172.17.0.0/16", u, b, "by address here, not by name", masquerade)
	says(t, "list", tell(t, e, "list"), u+" veth up ("+ubuntu.String()+") ubuntu:eth0 bridge")

	w := startWatch(t, e, "--json")
	load := &load{t: t, e: e}
	inUbuntu, inBack := e.Namespace("ubuntu"), e.Namespace("back")
	load.answerTCP(inBack, 8000)
	load.pings(inUbuntu, back, 3010, 1)
	load.pings(inUbuntu, internet, 3011, 1)
	load.pings(e.Host(), back, 3012, 1)
	load.connect(inUbuntu, 31000, netip.AddrPortFrom(back, 8000), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()

	there, again := []string{" " + ubuntu.String() + " > " + back.String()}, []string{" " + back.String() + " > " + ubuntu.String()}
	way := story{from: "ubuntu", to: "back", end: "delivered at back:eth0 in", hops: []string{
		"ubuntu:eth0 out" + there[0], "host:" + u + " in" + there[0], "host:" + b + " out" + there[0], "back:eth0 in" + there[0]}}
	wayBack := story{from: "back", to: "ubuntu", end: "delivered at ubuntu:eth0 in", hops: []string{
		"back:eth0 out" + again[0], "host:" + b + " in" + again[0], "host:" + u + " out" + again[0], "ubuntu:eth0 in" + again[0]}}
	way.check(t, "ping", only(t, "ping", echoes(all, 8, 3010)), rules)
	wayBack.check(t, "its answer", only(t, "its answer", echoes(all, 0, 3010)), rules)
	way.check(t, "SYN", only(t, "SYN", segments(all, 31000, "SYN")), rules)
	wayBack.check(t, "SYN ACK", only(t, "SYN ACK", segments(all, 31000, "SYN ACK")), rules)

	out, in := ubuntu.String()+" > "+internet.String(), internet.String()+" > "+ubuntu.String()
	story{
		from: "ubuntu", to: outside(e), end: "left at host:eth0 out",
		hops: []string{"ubuntu:eth0 out " + out, "host:" + u + " in " + out, "host:docker0 in " + out, "host:eth0 out 192.0.2.10 > 198.51.100.7"},
		translations: []change{{
			kind: "masquerade", hook: "postrouting", between: [2]int{2, 3},
			before: out, after: "192.0.2.10 > 198.51.100.7", rule: masquerade,
		}},
	}.check(t, "ping out", only(t, "ping out", echoes(all, 8, 3011)), rules)
	answer := only(t, "answer from outside", echoes(all, 0, 3011))
	story{
		from: outside(e), to: "ubuntu", end: "delivered at ubuntu:eth0 in",
		hops: []string{"host:eth0 in 198.51.100.7 > 192.0.2.10", "host:docker0 out " + in, "host:" + u + " out " + in, "ubuntu:eth0 in " + in},
		translations: []change{{
			kind: "masquerade", undo: true, hook: "prerouting", between: [2]int{0, 1},
			before: "198.51.100.7 > 192.0.2.10", after: in, rule: masquerade,
		}},
	}.check(t, "answer from outside", answer, rules)
	if len(answer.Related) != 1 || answer.Related[0].Why != "reply_to" || answer.Related[0].ID != only(t, "", echoes(all, 8, 3011)).ID {
		t.Errorf("answer is related to %+v", answer.Related)
	}

	gateway := "172.17.0.1 > " + back.String()
	story{
		from: "host", to: "back", end: "delivered at back:eth0 in",
		hops: []string{"host:docker0 out " + gateway, "host:" + b + " out " + gateway, "back:eth0 in " + gateway},
	}.check(t, "ping from the host", only(t, "ping from the host", echoes(all, 8, 3012)), rules)
}

func TestCoursePublishedPort(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "-p", "8000:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	back, b := ipOf(t, e, "back", "bridge"), vethOf(t, e, "back", "eth0")
	rules := iptablesSave(t, e.Command)
	dnat := rules.one(t, "-A DOCKER ", "--dport 8000 -j DNAT --to-destination "+back.String()+":80")
	await(t, 5*time.Second, "httpd", func() bool {
		return e.Command("curl", "-s", "-m", "2", "http://"+back.String()+"/test").Run() == nil
	})

	l := list(t, e)
	c := checkContainer(t, e, l, "back")
	found := false
	for _, p := range c.Ports {
		if p.HostPort != nil && *p.HostPort == 8000 && p.ContainerPort == 80 && p.Protocol == "tcp" && p.HostIP == "0.0.0.0" {
			found = true
		}
	}
	if !found {
		t.Errorf("list says of back's ports: %+v; docker port says %s", c.Ports, e.Docker("port", "back"))
	}
	says(t, "list containers", tell(t, e, "list", "containers"), "8000→80/tcp")
	says(t, "explain", tell(t, e, "explain", "back"), "8000", dnat, "On the host docker-proxy listens on that port, too", "NOT nobody will get an answer", "NOT ✗")

	w := startWatch(t, e, "--json", "tcp")
	load := &load{t: t, e: e}
	get := func(from string, port uint16) {
		in := e.Host()
		if from == "outside" {
			in = e.Internet()
		}
		to := netip.AddrPortFrom(hostAddress, 8000)
		if from == "localhost" {
			to = netip.MustParseAddrPort("127.0.0.1:8000")
		}
		conn, err := lab.DialTCP(context.Background(), in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), to)
		load.must(err)
		if err != nil {
			return
		}
		defer conn.Close()
		page, err := lab.Exchange(context.Background(), conn, []byte("GET /test HTTP/1.0\r\n\r\n"))
		load.must(err)
		if !strings.HasPrefix(string(page), "HTTP/1") {
			t.Errorf("%s: got %q", from, page)
		}
	}
	get("outside", 32000)
	get("itself", 32001)
	get("localhost", 32002)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()

	at := func(a netip.Addr, port string) string { return a.String() + ":" + port }
	from := netip.MustParseAddr("192.0.2.1") // the internet's nearest address
	in, out := from.String()+" > "+back.String(), back.String()+" > "+from.String()
	syn := only(t, "SYN from outside", segments(all, 32000, "SYN"))
	story{
		from: outside(e), to: "back", end: "delivered at back:eth0 in",
		hops: []string{"host:eth0 in 192.0.2.1 > 192.0.2.10", "host:docker0 out " + in, "host:" + b + " out " + in, "back:eth0 in " + in},
		translations: []change{{
			kind: "dnat", hook: "prerouting", between: [2]int{0, 1},
			before: at(from, "32000") + " > 192.0.2.10:8000", after: at(from, "32000") + " > " + at(back, "80"), rule: dnat,
		}},
	}.check(t, "SYN from outside", syn, rules)
	same(t, "port it is for", syn.To.Port, 80)
	story{
		from: "back", to: outside(e), end: "left at host:eth0 out",
		hops: []string{"back:eth0 out " + out, "host:" + b + " in " + out, "host:docker0 in " + out, "host:eth0 out 192.0.2.10 > 192.0.2.1"},
		translations: []change{{
			kind: "dnat", undo: true, hook: "postrouting", between: [2]int{2, 3},
			before: at(back, "80") + " > " + at(from, "32000"), after: "192.0.2.10:8000 > " + at(from, "32000"), rule: dnat,
		}},
	}.check(t, "SYN ACK to outside", only(t, "SYN ACK to outside", segments(all, 32000, "SYN ACK")), rules)

	// From the host by its own address: translated before any tap.
	in = "192.0.2.10 > " + back.String()
	story{
		from: "host", to: "back", end: "delivered at back:eth0 in",
		hops: []string{"host:docker0 out " + in, "host:" + b + " out " + in, "back:eth0 in " + in},
		translations: []change{{
			kind: "dnat", hook: "output", between: [2]int{noHop, 0},
			before: "192.0.2.10:32001 > 192.0.2.10:8000", after: "192.0.2.10:32001 > " + at(back, "80"), rule: dnat,
		}},
	}.check(t, "SYN from the host", only(t, "SYN from the host", segments(all, 32001, "SYN")), rules)

	// By localhost: docker-proxy answers, on a connection that is not translated.
	story{
		from: "host", to: "host", end: "delivered at host:lo in",
		hops: []string{"host:lo out 127.0.0.1 > 127.0.0.1", "host:lo in 127.0.0.1 > 127.0.0.1"},
	}.check(t, "SYN to localhost", only(t, "SYN to localhost", segments(all, 32002, "SYN")), rules)
	in = "172.17.0.1 > " + back.String()
	own := only(t, "docker-proxy's SYN", with(all, func(j *journey) bool {
		return j.Hops[0].TCP.Flags == "SYN" && j.Hops[0].Source.IP == "172.17.0.1"
	}))
	if tr := own.Translations; len(tr) != 1 || tr[0].Kind != "proxy" || tr[0].Before.Source != (address{IP: "127.0.0.1", Port: 32002}) {
		t.Errorf("docker-proxy's SYN does not say whose it is: %+v", tr)
	}
	own.Translations = nil
	story{
		from: "host", to: "back", end: "delivered at back:eth0 in",
		hops: []string{"host:docker0 out " + in, "host:" + b + " out " + in, "back:eth0 in " + in},
	}.check(t, "docker-proxy's SYN", own, rules)
}

// Without docker-proxy localhost is translated, too, both ends of it.
func TestCoursePublishedPortWithoutProxy(t *testing.T) {
	e := engine.Start(t, "--userland-proxy=false")
	e.Run("--name", "back", "-p", "8000:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	back, b := ipOf(t, e, "back", "bridge"), vethOf(t, e, "back", "eth0")
	rules := iptablesSave(t, e.Command)
	dnat := rules.one(t, "-A DOCKER ", "--dport 8000 -j DNAT --to-destination "+back.String()+":80")
	says(t, "explain", tell(t, e, "explain", "back"), dnat, "it runs without docker-proxy", "NOT docker-proxy listens")

	w := startWatch(t, e, "--json", "tcp")
	(&load{t: t, e: e}).connect(e.Host(), 32010, netip.MustParseAddrPort("127.0.0.1:8000"), 0)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	in := "172.17.0.1 > " + back.String()
	half := "127.0.0.1:32010 > " + back.String() + ":80"
	syn := only(t, "SYN to localhost", segments(all, 32010, "SYN"))
	masquerade := ""
	for rule := range rules {
		if strings.HasPrefix(rule, "-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE") {
			masquerade = rule
		}
	}
	story{
		from: "host", to: "back", end: "delivered at back:eth0 in",
		hops: []string{"host:docker0 out " + in, "host:" + b + " out " + in, "back:eth0 in " + in},
		translations: []change{{
			kind: "dnat", hook: "output", between: [2]int{noHop, 0},
			before: "127.0.0.1:32010 > 127.0.0.1:8000", after: half, rule: dnat,
		}, {
			kind: "masquerade", hook: "postrouting", between: [2]int{noHop, 0},
			before: half, after: "172.17.0.1:32010 > " + back.String() + ":80", rule: masquerade,
		}},
	}.check(t, "SYN to localhost", syn, rules)
	answer := only(t, "answer", segments(all, 32010, "SYN ACK"))
	same(t, "answer's end", answer.End(), "delivered at host:docker0 in")
	same(t, "answer's begin", answer.From.Name, "back")
}

// The most common failure of all: what is published listens on its own
// loopback.
func TestCourseListensOnLoopback(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "lonely", "-p", "8002:8000", "box", "httpd", "-f", "-p", "127.0.0.1:8000", "-h", "/www")
	await(t, 5*time.Second, "httpd", func() bool {
		out, err := e.CommandIn("lonely", "ss", "-Hltn").Output()
		return err == nil && strings.Contains(string(out), "127.0.0.1:8000")
	})
	address := ipOf(t, e, "lonely", "bridge")
	says(t, "explain", tell(t, e, "explain", "lonely"),
		"8002", "inside lonely only 127.0.0.1:8000 listens", "0.0.0.0", address.String()+":8000")

	w := startWatch(t, e, "--json", "tcp")
	if _, err := lab.DialTCP(context.Background(), e.Internet(), netip.MustParseAddrPort("0.0.0.0:32020"), netip.AddrPortFrom(hostAddress, 8002)); err == nil {
		t.Fatal("it was reached")
	}
	w.awaitJourneys(2)
	all, _ := w.journeys()
	same(t, "question", only(t, "SYN", segments(all, 32020, "SYN")).End(), "delivered at lonely:eth0 in")
	answer := only(t, "RST", segments(all, 32020, "RST ACK"))
	same(t, "answer's begin", answer.From.Name, "lonely")
	same(t, "answer's end", answer.End(), "left at host:eth0 out")
}

func TestCourseCustomNetworkAndNames(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.24.0.0/24", "back_net")
	e.Run("--name", "back", "--network", "back_net", "box")
	e.Run("--name", "database", "--network", "back_net", "box")
	back, database := ipOf(t, e, "back", "back_net"), ipOf(t, e, "database", "back_net")
	b, d, bridge := vethOf(t, e, "back", "eth0"), vethOf(t, e, "database", "eth0"), bridgeOf(e, "back_net")
	rules := iptablesSave(t, e.Command)
	masquerade := rules.one(t, "-A POSTROUTING -s 172.24.0.0/24 ", "-j MASQUERADE")
	inside := iptablesSave(t, inContainer(e, "back"))
	var dns string
	for rule := range inside {
		if strings.HasPrefix(rule, "-A DOCKER_OUTPUT ") && strings.Contains(rule, "-p udp ") {
			dns = rule
		}
	}
	_, port, ok := strings.Cut(dns, "--to-destination 127.0.0.11:")
	if !ok {
		t.Fatalf("no rule of Docker's for names: %v", inside)
	}

	l := list(t, e)
	for _, name := range []string{"back", "database"} {
		checkContainer(t, e, l, name)
		checkCable(t, e, l, name, "eth0", "back_net")
	}
	for _, n := range l.Networks {
		if n.Name == "back_net" {
			same(t, "bridge", n.Bridge, bridge)
			sameJSON(t, "subnets", n.Subnets, []string{"172.24.0.0/24"})
			same(t, "gateway", n.Gateway, inspect(t, e, "back").Net.Networks["back_net"].Gateway)
			sameJSON(t, "members", n.Containers, []string{"back", "database"})
			same(t, "id", n.ID, e.Docker("network", "inspect", "-f", "{{.Id}}", "back_net"))
		}
	}
	says(t, "list networks", tell(t, e, "list", "networks"), "back_net bridge 172.24.0.0/24 172.24.0.1 "+bridge+" back database")
	says(t, "explain back_net", tell(t, e, "explain", "back_net"), bridge, b, d, "172.24.0.0/24",
		"find each other by name", "127.0.0.11", masquerade)

	w := startWatch(t, e, "--json")
	load := &load{t: t, e: e}
	load.pings(e.Namespace("back"), database, 3020, 1)
	load.pings(e.Namespace("back"), internet, 3021, 1)
	if out := e.Docker("exec", "back", "nslookup", "database"); !strings.Contains(out, database.String()) {
		t.Fatalf("nslookup: %s", out)
	}
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()

	there := back.String() + " > " + database.String()
	story{
		from: "back", to: "database", end: "delivered at database:eth0 in",
		hops: []string{"back:eth0 out " + there, "host:" + b + " in " + there, "host:" + d + " out " + there, "database:eth0 in " + there},
	}.check(t, "ping", only(t, "ping", echoes(all, 8, 3020)), rules)
	out := back.String() + " > " + internet.String()
	story{
		from: "back", to: outside(e), end: "left at host:eth0 out",
		hops: []string{"back:eth0 out " + out, "host:" + b + " in " + out, "host:" + bridge + " in " + out, "host:eth0 out 192.0.2.10 > 198.51.100.7"},
		translations: []change{{
			kind: "masquerade", hook: "postrouting", between: [2]int{2, 3},
			before: out, after: "192.0.2.10 > 198.51.100.7", rule: masquerade,
		}},
	}.check(t, "ping out", only(t, "ping out", echoes(all, 8, 3021)), rules)

	// The question: no tap ever sees port 53.
	questions := with(all, func(j *journey) bool { return strings.Contains(j.Info, "A? database") })
	if len(questions) == 0 {
		t.Fatal("no question")
	}
	answers := 0
	for _, q := range questions {
		client := "127.0.0.1:" + portOf(q.Hops[0].Source)
		story{
			from: "back", to: "back", end: "delivered at back:lo in",
			hops: []string{"back:lo out 127.0.0.1 > 127.0.0.11", "back:lo in 127.0.0.1 > 127.0.0.11"},
			translations: []change{{
				kind: "dnat", hook: "output", between: [2]int{noHop, 0},
				before: client + " > 127.0.0.11:53", after: client + " > 127.0.0.11:" + port, rule: dns,
			}},
		}.check(t, q.Info, q, inside)
		// And its answer, by the kind of question.
		kind := strings.Fields(q.Info)[1]
		kind = strings.TrimSuffix(kind, "?")
		for _, a := range with(all, func(j *journey) bool {
			return strings.HasPrefix(j.Info, "DNS "+kind+" database") && j.Hops[0].Destination == q.Hops[0].Source
		}) {
			answers++
			if len(a.Related) != 1 || a.Related[0].Why != "reply_to" || a.Related[0].ID != q.ID {
				t.Errorf("%s is related to %+v, want a reply to #%d", a.Info, a.Related, q.ID)
			}
			story{
				from: "back", to: "back", end: "delivered at back:lo in",
				hops: []string{"back:lo out 127.0.0.11 > 127.0.0.1", "back:lo in 127.0.0.11 > 127.0.0.1"},
				translations: []change{{
					kind: "dnat", undo: true, hook: "postrouting", between: [2]int{noHop, 0},
					before: "127.0.0.11:" + port + " > " + client, after: "127.0.0.11:53 > " + client, rule: dns,
				}},
			}.check(t, a.Info, a, inside)
		}
	}
	same(t, "answers", answers, len(questions))
}

// Two networks are isolated from each other, until docker network connect.
func TestCourseTwoNetworksAndConnect(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.25.0.0/24", "back_net")
	e.Run("--name", "ubuntu", "box")
	e.Run("--name", "back", "--network", "back_net", "box")
	ubuntu, back := ipOf(t, e, "ubuntu", "bridge"), ipOf(t, e, "back", "back_net")
	u, b := vethOf(t, e, "ubuntu", "eth0"), vethOf(t, e, "back", "eth0")

	w := startWatch(t, e, "--json", "--events", "icmp")
	in := e.Namespace("ubuntu")
	refused := make(chan error, 1)
	go func() {
		short, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err := lab.Ping(short, in, back, lab.Echo{ID: 3030, Seq: 1, Payload: []byte("isolated")})
		refused <- err
	}()
	if <-refused == nil {
		t.Fatal("the networks are not isolated")
	}
	e.Docker("network", "connect", "back_net", "ubuntu")
	ubuntu1, u1 := ipOf(t, e, "ubuntu", "back_net"), vethOf(t, e, "ubuntu", "eth1")
	await(t, 5*time.Second, "the event of eth1", func() bool {
		for _, x := range w.events() {
			if x.Object == "link" && x.Action == "came" && x.Name == "eth1" && x.Namespace == "ubuntu" {
				return true
			}
		}
		return false
	})
	(&load{t: t, e: e}).pings(in, back, 3031, 1)
	time.Sleep(300 * time.Millisecond)
	await(t, 10*time.Second, "the refused ping", func() bool { return strings.Contains(w.stdout.String(), `"id":3030`) })
	var container, network bool
	for _, x := range w.events() {
		container = container || x.Object == "container" && x.Name == "ubuntu" && strings.Contains(x.Detail, ubuntu1.String())
		network = network || x.Object == "network" && x.Name == "back_net" && strings.Contains(x.Detail, "ubuntu")
	}
	if !container || !network {
		t.Errorf("no event says that ubuntu is on back_net: %+v", w.events())
	}
	all, _ := w.journeys()

	to := ubuntu.String() + " > " + back.String()
	drop := only(t, "refused ping", echoes(all, 8, 3030))
	story{
		from: "ubuntu", to: "back", end: "dropped at host:docker0 in",
		hops: []string{"ubuntu:eth0 out " + to, "host:" + u + " in " + to, "host:docker0 in " + to},
	}.check(t, "refused ping", drop, nil)
	if e := drop.Verdict.Evidence; e != "evaluated" && e != "counter" {
		t.Errorf("evidence of the drop: %s", e)
	}
	same(t, "hook of the drop", drop.Verdict.Hook, "forward")
	same(t, "who dropped it", drop.Verdict.By, "DOCKER-ISOLATION-STAGE-2 #1")

	to = ubuntu1.String() + " > " + back.String()
	story{
		from: "ubuntu", to: "back", end: "delivered at back:eth0 in",
		hops: []string{"ubuntu:eth1 out " + to, "host:" + u1 + " in " + to, "host:" + b + " out " + to, "back:eth0 in " + to},
	}.check(t, "ping after connect", only(t, "ping after connect", echoes(all, 8, 3031)), nil)

	l := list(t, e)
	checkContainer(t, e, l, "ubuntu")
	checkCable(t, e, l, "ubuntu", "eth0", "bridge")
	checkCable(t, e, l, "ubuntu", "eth1", "back_net")
	says(t, "explain", tell(t, e, "explain", "ubuntu"), u, u1, "docker0", bridgeOf(e, "back_net"), ubuntu.String(), ubuntu1.String())
}
