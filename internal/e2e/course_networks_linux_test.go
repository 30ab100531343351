package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// What a host has, and what a container's start adds to it.
func TestCourseWhatAHostHas(t *testing.T) {
	e := engine.Shared(t)
	l := list(t, e)
	for name, role := range map[string]string{"lo": "loopback", "eth0": "uplink", "docker0": "bridge"} {
		same(t, "role of "+name, l.link(t, "host", name).Role, role)
	}
	for _, link := range l.Links {
		if link.Namespace == "host" && link.Master == "docker0" {
			t.Errorf("%s is on docker0, and no container is there", link.Name)
		}
	}
	w := startWatch(t, e, "--json", "--events", "icmp")
	e.Run("--name", "ubuntu", "box")
	veth := vethOf(t, e, "ubuntu", "eth0")
	await(t, 10*time.Second, "the events of its cable", func() bool {
		seen, inside := map[string]bool{}, false
		for _, ev := range w.events() {
			seen[ev.Object+" "+ev.Action+" "+ev.Name+" "+ev.Namespace] = true
			// It may have come before its name was known, or that of its namespace.
			inside = inside || ev.Object == "link" && ev.Action != "went" && ev.Name == "eth0" && ev.Namespace != "host"
		}
		return seen["link came "+veth+" host"] && inside && seen["container came ubuntu ubuntu"]
	})
	checkCable(t, e, list(t, e), "ubuntu", "eth0", "bridge")
	e.Docker("rm", "-f", "ubuntu")
	await(t, 10*time.Second, "the veth to go", func() bool {
		for _, ev := range w.events() {
			if ev.Object == "link" && ev.Action == "went" && ev.Name == veth {
				return true
			}
		}
		return false
	})
	w.end()
}

// A container without a network: a published port has no effect, and a probe out of
// it fails for that reason.
func TestCourseNoneReachesNobody(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "silent", "--network", "none", "-p", "8009:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.Run("--name", "back", "box")
	same(t, "ports that the engine publishes", e.Docker("port", "silent"), "")
	if e.Command("curl", "-s", "-m", "2", "http://"+hostAddress.String()+":8009/").Run() == nil {
		t.Fatal("the port is published")
	}
	says(t, "explain", tell(t, e, "explain", "silent"), "no link but its loopback", "NOT 8009→")
	for _, to := range []string{"back", internet.String()} {
		out, _, status := runProbe(t, e, "silent", to)
		t.Logf("%s", out)
		same(t, "status", status, 1)
		says(t, "probe to "+to, string(out), "silent has no link but its loopback")
	}
	// Nor does anybody reach it.
	line, _, status := probe(t, e, "back", "silent")
	same(t, "status", status, 1)
	same(t, "result", line.Result, "unreachable")
}

// On the default bridge there are addresses and no names; a container reaches the host
// at its gateway, and nobody outside reaches a container.
func TestCourseBridgeBorders(t *testing.T) {
	e := engine.Shared(t)
	nameServer(t, e, internet, internet, "api.example") // it knows no container
	e.Run("--name", "ubuntu", "--dns", internet.String(), "box")
	e.Run("--name", "back", "box")
	back := ipOf(t, e, "back", "bridge")
	same(t, "that a name resolves", e.Command("docker", "exec", "ubuntu", "ping", "-c", "1", "-W", "1", "back").Run() == nil, false)
	must(t, e.CommandOutside("ip", "route", "add", "172.17.0.0/16", "via", hostAddress.String()))
	defer func() { must(t, e.CommandOutside("ip", "route", "del", "172.17.0.0/16")) }()
	load := &load{t: t, e: e}
	load.answerTCP(e.Namespace("back"), 8000)
	load.answerTCP(e.Host(), 8100)

	w := startWatch(t, e, "--json", "icmp", "or", "tcp")
	in := e.Namespace("ubuntu")
	gateway := netip.MustParseAddr("172.17.0.1")
	load.pings(in, gateway, 3040, 1)
	load.connect(in, 33000, netip.AddrPortFrom(hostAddress, 8100), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	u, to := vethOf(t, e, "ubuntu", "eth0"), ipOf(t, e, "ubuntu", "bridge").String()
	story{
		from: "ubuntu", to: "host", end: "delivered at host:docker0 in",
		hops: []string{"ubuntu:eth0 out " + to + " > 172.17.0.1", "host:" + u + " in " + to + " > 172.17.0.1", "host:docker0 in " + to + " > 172.17.0.1"},
	}.check(t, "ping of the gateway", only(t, "ping of the gateway", echoes(all, 8, 3040)), nil)
	syn := only(t, "SYN to the host", segments(all, 33000, "SYN"))
	same(t, "end at the host's other address", syn.End(), "delivered at host:docker0 in")
	same(t, "translations on the way to the host", len(syn.Translations), 0)
	says(t, "explain bridge", tell(t, e, "explain", "bridge"), "Containers reach the host at 172.17.0.1.", "by address here, not by name")
	// From outside the engine's FORWARD policy decides; the tests' host forwards, so
	// the policy of a host on which Docker set it is set here.
	must(t, e.Command("iptables", "-P", "FORWARD", "DROP"))
	defer func() { must(t, e.Command("iptables", "-P", "FORWARD", "ACCEPT")) }()
	w = startWatch(t, e, "--json", "icmp")
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := lab.Ping(short, e.Internet(), back, lab.Echo{ID: 3041, Seq: 1, Payload: []byte("from outside")}); err == nil {
		t.Fatal("the outside reached a container")
	}
	await(t, 10*time.Second, "the dropped ping", func() bool { return strings.Contains(w.stdout.String(), `"id":3041`) })
	all, _ = w.journeys()
	drop := only(t, "ping from outside", echoes(all, 8, 3041))
	same(t, "its end", drop.End()+" "+drop.Verdict.Hook, "dropped at host:eth0 in forward")
	says(t, "who dropped it", drop.Verdict.By+" "+drop.Verdict.Reason, "FORWARD", "policy")
}

// Addresses are given in the order of starts; names stay.
func TestCourseAddressesChangeNamesDoNot(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.28.1.0/24", "order_net")
	e.Run("--name", "one", "--network", "order_net", "box")
	e.Run("--name", "two", "--network", "order_net", "box")
	was := map[string]netip.Addr{"one": ipOf(t, e, "one", "order_net"), "two": ipOf(t, e, "two", "order_net")}
	ping := func(what string) {
		t.Helper()
		w := startWatch(t, e, "--json", "icmp", "or", "port", "53")
		e.Docker("exec", "one", "ping", "-c", "1", "-W", "2", "two")
		w.awaitJourneys(2)
		time.Sleep(200 * time.Millisecond)
		all, _ := w.journeys()
		two := ipOf(t, e, "two", "order_net").String()
		request := only(t, what, with(all, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 }))
		same(t, what+": from and to", request.From.Name+" > "+request.To.Name+" "+request.To.IP, "one > two "+two)
		says(t, what+": notes", noteOf(request), "two was resolved to "+two+" by the engine's DNS")
	}
	ping("before")
	e.Docker("stop", "-t", "0", "one", "two")
	e.Docker("start", "two")
	e.Docker("start", "one")
	now := map[string]netip.Addr{"one": ipOf(t, e, "one", "order_net"), "two": ipOf(t, e, "two", "order_net")}
	if now["one"] != was["two"] || now["two"] != was["one"] {
		t.Fatalf("addresses were %v, are %v: the engine did not swap them", was, now)
	}
	ping("after")
	l := list(t, e)
	checkContainer(t, e, l, "one")
	checkContainer(t, e, l, "two")
}

// A container on two networks: one gateway is the default, and a published port leads
// to one address.
func TestCourseTwoNetworksOneDefaultGateway(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.28.2.0/24", "a_net")
	e.Network("--subnet", "172.28.3.0/24", "b_net")
	e.Run("--name", "both", "--network", "b_net", "-p", "8031:8000", "box")
	e.Docker("network", "connect", "a_net", "both")
	load := &load{t: t, e: e}
	load.answerTCP(e.Namespace("both"), 8000)
	route, err := e.CommandIn("both", "ip", "-4", "route", "show", "default").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(route)) // default via ADDRESS dev LINK
	link, network := words[4], map[string]string{"172.28.2.1": "a_net", "172.28.3.1": "b_net"}[words[2]]
	rules := iptablesSave(t, e.Command)
	var dnat string
	for rule := range rules {
		if strings.Contains(rule, "--dport 8031 ") {
			dnat = rule
		}
	}
	_, published, ok := strings.Cut(dnat, "--to-destination ")
	if !ok {
		t.Fatalf("no rule publishes 8031: %v", rules)
	}
	says(t, "explain", tell(t, e, "explain", "both"), "a_net", "b_net", "both sends by "+link+" to its gateway "+words[2], dnat)

	w := startWatch(t, e, "--json")
	load.pings(e.Namespace("both"), internet, 3050, 1)
	load.connect(e.Internet(), 33010, netip.AddrPortFrom(hostAddress, 8031), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	ping := only(t, "ping out", echoes(all, 8, 3050))
	same(t, "the link that it leaves by", ping.Hops[0].Interface+" "+ping.Hops[0].Source.IP, link+" "+ipOf(t, e, "both", network).String())
	syn := only(t, "SYN from outside", segments(all, 33010, "SYN"))
	same(t, "address that the port leads to", syn.To.Name+" "+syn.To.IP+":8000", "both "+published)
}
