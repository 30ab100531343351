package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// otherAddress is a second address of the host.
var otherAddress = netip.MustParseAddr("192.0.2.11")

// The ways to publish a port: at an address of the host's choice, one port at two
// addresses, a port that the engine chooses, UDP, a range. Each is listed as docker
// port says, and leads where it says, and nowhere else.
func TestCoursePublishedPortsOfAllKinds(t *testing.T) {
	e := engine.Shared(t)
	must(t, e.Command("ip", "addr", "add", otherAddress.String()+"/24", "dev", "eth0"))
	defer func() { must(t, e.Command("ip", "addr", "del", otherAddress.String()+"/24", "dev", "eth0")) }()
	load := &load{t: t, e: e}
	start := func(name string, args ...string) netip.Addr {
		t.Helper()
		e.Run(append(append([]string{"--name", name}, args...), "box")...)
		load.answerTCP(e.Namespace(name), 80)
		return ipOf(t, e, name, "bridge")
	}
	address := map[string]netip.Addr{
		"inward":   start("inward", "-p", "127.0.0.1:8060:80"),
		"first":    start("first", "-p", hostAddress.String()+":8061:80"),
		"second":   start("second", "-p", otherAddress.String()+":8061:80"),
		"anywhere": start("anywhere", "-p", "80"),
		"range":    start("range", "-p", "8070-8072:78-80", "-p", "8073:5353/udp"),
	}
	load.answerUDP(e.Namespace("range"), netip.MustParseAddrPort("0.0.0.0:5353"))
	_, text, _ := strings.Cut(strings.Fields(e.Docker("port", "anywhere", "80"))[0], ":")
	chosen, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	l := list(t, e)
	for name := range address {
		said := strings.Fields(strings.ReplaceAll(e.Docker("port", name), " -> ", "->"))
		told := map[string]bool{}
		for _, p := range l.container(t, name).Ports {
			if p.HostPort != nil {
				told[fmt.Sprintf("%d/%s->%s", p.ContainerPort, p.Protocol, hostPort(p.HostIP, *p.HostPort))] = true
			}
		}
		for _, line := range said {
			if !told[line] {
				t.Errorf("docker port %s says %s; list says %v", name, line, told)
			}
		}
		same(t, "published ports of "+name, len(told), len(said))
	}

	w := startWatch(t, e, "--json")
	for i, c := range []struct {
		to   netip.Addr
		port int
		name string // who answers; "" for nobody
	}{
		{hostAddress, 8060, ""},
		{hostAddress, 8061, "first"},
		{otherAddress, 8061, "second"},
		{hostAddress, chosen, "anywhere"},
		{otherAddress, chosen, "anywhere"},
		{hostAddress, 8072, "range"},
		{hostAddress, 8071, "range"}, // where nobody listens
	} {
		from := uint16(33100 + i)
		conn, err := lab.DialTCP(context.Background(), e.Internet(), netip.AddrPortFrom(netip.IPv4Unspecified(), from), netip.AddrPortFrom(c.to, uint16(c.port)))
		if err == nil {
			conn.Close()
		}
		same(t, fmt.Sprintf("that %v:%d answers", c.to, c.port), err == nil, c.name != "" && c.port != 8071)
	}
	u, err := lab.DialUDP(e.Internet(), netip.MustParseAddrPort("0.0.0.0:33150"), netip.AddrPortFrom(hostAddress, 8073))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := lab.Exchange(t.Context(), u, load.words(30)); err != nil {
		t.Fatal(err)
	}
	load.connect(e.Host(), 33160, netip.MustParseAddrPort("127.0.0.1:8060"), 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	rules := iptablesSave(t, e.Command)
	leads := func(j *journey, name string, port uint16, before string) {
		t.Helper()
		same(t, before+": end", j.End(), "delivered at "+name+":eth0 in")
		same(t, before+": to", fmt.Sprintf("%s %s:%d", j.To.Name, j.To.IP, j.To.Port), fmt.Sprintf("%s %v:%d", name, address[name], port))
		if len(j.Translations) != 1 || j.Translations[0].Kind != "dnat" || j.Translations[0].Rule == nil || rules[j.Translations[0].Rule.Text] == 0 {
			t.Fatalf("%s: %+v", before, j.Translations)
		}
		same(t, before+": before", hostPort(j.Translations[0].Before.Destination.IP, j.Translations[0].Before.Destination.Port), before)
	}
	syn := func(from uint16) *journey { return only(t, fmt.Sprint("SYN from ", from), segments(all, from, "SYN")) }
	same(t, "who gets what is for another address", syn(33100).To.Name+" "+syn(33100).End(), "host delivered at host:eth0 in")
	leads(syn(33101), "first", 80, "192.0.2.10:8061")
	leads(syn(33102), "second", 80, "192.0.2.11:8061")
	leads(syn(33103), "anywhere", 80, fmt.Sprint("192.0.2.10:", chosen))
	leads(syn(33104), "anywhere", 80, fmt.Sprint("192.0.2.11:", chosen))
	leads(syn(33105), "range", 80, "192.0.2.10:8072")
	leads(syn(33106), "range", 79, "192.0.2.10:8071")
	leads(only(t, "datagram", with(all, func(j *journey) bool { return j.Hops[0].Source.Port == 33150 })), "range", 5353, "192.0.2.10:8073")
	// On the host itself docker-proxy takes what is for 127.0.0.1.
	stitched(t, only(t, "docker-proxy's SYN", with(all, func(j *journey) bool {
		return j.To.Name == "inward" && j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN"
	})), syn(33160))
	for name, sentence := range map[string]string{ // what is said is what was seen
		"inward": "127.0.0.1:8060 (which only this host itself can reach) leads to port 80 of inward (tcp).",
		"second": "192.0.2.11:8061 leads to port 80 of second (tcp).",
		"first":  "such as connections from the container's own network to 192.0.2.10:8061",
		"range":  "Port 8073 on every address of the host leads to port 5353 of range (udp)",
	} {
		says(t, "explain "+name, tell(t, e, "explain", name), sentence)
	}
}

// hostPort is an address with its port, as docker port writes it.
func hostPort(ip string, port uint16) string {
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return ip + ":" + strconv.Itoa(int(port))
}
