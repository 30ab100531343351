package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// podmanHost has containers of each kind: on a network of its own, on Podman's
// default one, on the host's network, on none, and in another's namespace.
func podmanHost(t *testing.T) *engine.Engine {
	e := engine.StartPodman(t)
	e.Network("back_net")
	e.Run("--name", "web", "--network", "back_net", "-p", "8080:80", "-p", "127.0.0.1:8081:81/udp", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.Run("--name", "client", "--network", "back_net", "box")
	e.Run("--name", "plain", "-p", "9000:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.Run("--name", "hosted", "--network", "host", "box")
	e.Run("--name", "silent", "--network", "none", "box")
	e.Run("--name", "sidecar", "--network", "container:web", "box")
	return e
}

// podmanInspected is what podman inspect says of a container, in its own form.
type podmanInspected struct {
	ID        string `json:"Id"`
	ImageName string
	State     struct{ Pid int }
	Net       struct {
		Networks map[string]struct {
			IPAddress, Gateway, MacAddress string
		}
		Ports map[string][]struct{ HostIP, HostPort string }
	} `json:"NetworkSettings"`
}

// TestPodman holds what natlens says of Podman's containers against podman itself:
// without its service, when conmon, files and rules must do, and with it.
func TestPodman(t *testing.T) {
	e := podmanHost(t)
	for _, asked := range []bool{false, true} {
		name := "without a service"
		if asked {
			name = "with its service"
			e.Serve()
		}
		t.Run(name, func(t *testing.T) {
			l := list(t, e)
			if l.Engine == nil || l.Engine.Unasked == asked {
				t.Errorf("engine %+v", l.Engine)
			}
			same(t, "containers", len(l.Containers), 6)
			for _, name := range []string{"web", "client", "plain", "hosted", "silent", "sidecar"} {
				checkPodman(t, e, l, name)
			}
			for name, want := range map[string]string{"hosted": "host", "silent": "none", "sidecar": "container:" + l.container(t, "web").ID} {
				same(t, "mode of "+name, l.container(t, name).Mode, want)
			}
			for name, bridge := range map[string]string{"back_net": "podman1", "podman": "podman0"} {
				i := slices.IndexFunc(l.Networks, func(n listedNetwork) bool { return n.Name == name })
				if i < 0 {
					t.Fatalf("list has no network %s", name)
				}
				same(t, "bridge of "+name, l.Networks[i].Bridge, bridge)
				same(t, "gateway of "+name, l.Networks[i].Gateway, e.Docker("network", "inspect", "-f", "{{range .Subnets}}{{.Gateway}}{{end}}", name))
			}
			veth := vethOf(t, e, "web", "eth0")
			outer := l.link(t, "host", veth)
			same(t, "network of "+veth, outer.Network, "back_net")
			same(t, "master of "+veth, outer.Master, "podman1")
			says(t, "list", tell(t, e, "list"), veth+" veth up (10.89.0.2) web:eth0 back_net")
			says(t, "list containers", tell(t, e, "list", "containers"), "8080→80/tcp", "9000→80/tcp", "127.0.0.1:8081→81/udp")

			rules := iptablesSave(t, e.Command)
			says(t, "explain web", tell(t, e, "explain", "web"), "which carries the network back_net (10.89.0.0/24)", "client (10.89.0.3)",
				"10.89.0.2 becomes 192.0.2.10 (masquerade)", rules.one(t, "-A NETAVARK-", "! -d 224.0.0.0/4 -j MASQUERADE", "10.89.0.2"),
				rules.one(t, "-A NETAVARK-DN-", "--dport 8080 -j DNAT --to-destination 10.89.0.2:80"), "(conmon)", "$ podman port web",
				"Behind it [::]:80 listens: it answers", "NOT docker ")
			says(t, "explain back_net", tell(t, e, "explain", "back_net"), "a DNS server of the host answers at the gateway, 10.89.0.1", "8080→80/tcp")
			says(t, "explain podman", tell(t, e, "explain", "podman"), "by address, not by name")
			says(t, "doctor", tell(t, e, "doctor"), map[bool]string{
				false: "conmon processes, their networks by Podman's files, published ports by the host's rules",
				true:  "Podman Engine 4."}[asked], "6 running, 6 of them found here")
		})
	}
}

func checkPodman(t *testing.T, e *engine.Engine, l *listing, name string) {
	t.Helper()
	var all []podmanInspected
	decode(t, []byte(e.Docker("inspect", name)), &all)
	c, want := l.container(t, name), all[0]
	same(t, "id of "+name, c.ID, want.ID)
	same(t, "image of "+name, c.Image, want.ImageName)
	same(t, "pid of "+name, c.PID, want.State.Pid)
	same(t, "namespace of "+name, c.NamespaceInode, uint64(e.Namespace(name).ID()))
	if name == "sidecar" {
		return // podman lists the networks and ports of web for it, too
	}
	networks := 0
	for network, w := range want.Net.Networks {
		if w.IPAddress == "" {
			continue // none, host
		}
		networks++
		i := slices.IndexFunc(c.Networks, func(a attachedNetwork) bool { return a.Name == network })
		if i < 0 {
			t.Errorf("%s is not on %s: %+v", name, network, c.Networks)
			continue
		}
		n := c.Networks[i]
		same(t, "MAC of "+name, n.MAC, w.MacAddress)
		sameJSON(t, "gateways of "+name, n.Gateways, []string{w.Gateway})
		if len(n.Addresses) != 1 || !strings.HasPrefix(n.Addresses[0], w.IPAddress+"/") {
			t.Errorf("addresses of %s: %v, podman says %s", name, n.Addresses, w.IPAddress)
		}
	}
	if networks > 0 {
		same(t, "networks of "+name, len(c.Networks), networks)
	}
	var got, ports []string
	for _, p := range c.Ports {
		if p.HostPort != nil {
			got = append(got, p.HostIP+":"+strconv.Itoa(int(*p.HostPort))+" "+strconv.Itoa(p.ContainerPort)+"/"+p.Protocol)
		}
	}
	for port, hosts := range want.Net.Ports {
		for _, h := range hosts {
			if h.HostIP == "" {
				h.HostIP = "0.0.0.0"
			}
			ports = append(ports, h.HostIP+":"+h.HostPort+" "+port)
		}
	}
	slices.Sort(got)
	slices.Sort(ports)
	same(t, "ports of "+name, strings.Join(got, ", "), strings.Join(ports, ", "))
}

// TestPodmanTraffic holds the journeys of packets on Podman's networks against
// tcpdump and conntrack, and the rules that they name against iptables-save. A
// connection that comes back in by the host's published port is masqueraded by a
// mark, which another rule sets.
func TestPodmanTraffic(t *testing.T) {
	e := podmanHost(t)
	rules := iptablesSave(t, e.Command)
	s := openScene(t, e, "client", "web", "plain")
	published, own := netip.AddrPortFrom(hostAddress, 8080), netip.MustParseAddrPort("127.0.0.1:8080")
	s.pings(e.Namespace("client"), internet, 4001, 2)
	for port, way := range map[uint16]struct {
		from string
		to   netip.AddrPort
	}{
		35001: {"client", published},
		35002: {"plain", published},
		35003: {"host", own},
		35004: {"host", published},
		35005: {"outside", published},
		35007: {"plain", netip.MustParseAddrPort("10.89.0.2:80")},
	} {
		in := e.Host()
		switch way.from {
		case "host":
		case "outside":
			in = e.Internet()
		default:
			in = e.Namespace(way.from)
		}
		c, err := lab.DialTCP(t.Context(), in, netip.AddrPortFrom(netip.IPv4Unspecified(), port), way.to)
		if err == nil {
			_, err = lab.Exchange(t.Context(), c, []byte("GET / HTTP/1.0\r\n\r\n"))
			_ = c.Close() // all was said
		}
		if err != nil {
			t.Errorf("from %s to %v: %v", way.from, way.to, err)
		}
	}
	all := s.close()

	dnat := rules.one(t, "-A NETAVARK-DN-", "--dport 8080 -j DNAT --to-destination 10.89.0.2:80")
	byMark := rules.one(t, "-A NETAVARK-HOSTPORT-MASQ ", "--mark 0x2000/0x2000 -j MASQUERADE")
	setMark := rules.one(t, "-A NETAVARK-HOSTPORT-SETMARK ", "-j MARK --set-xmark 0x2000/0x2000")
	masquerade := rules.one(t, "-A NETAVARK-", "! -d 224.0.0.0/4 -j MASQUERADE", "10.89.0.2")
	other := rules.one(t, "-A NETAVARK-", "! -d 224.0.0.0/4 -j MASQUERADE", "10.88.0.2")
	for port, want := range map[uint16]string{
		35001: dnat + ", " + byMark + " by " + setMark,
		35002: dnat + ", " + other, // its own network's rule would do it too, but netavark's chain for marks comes first
		35003: dnat + ", " + byMark + " by " + setMark,
		35004: dnat,
		35005: dnat,
		35007: other,
	} {
		syn := only(t, "SYN from "+strconv.Itoa(int(port)), segments(all, port, "SYN"))
		same(t, "rules for port "+strconv.Itoa(int(port)), ruled(syn), want)
		same(t, "who is reached from port "+strconv.Itoa(int(port)), syn.To.Name, "web")
	}
	ping := echoes(all, 8, 4001)
	for i := range ping {
		same(t, "rules for a ping", ruled(ping[i]), masquerade)
	}
	if len(ping) != 2 {
		t.Errorf("%d pings, want 2", len(ping))
	}
}

// ruled names the rules that translated, and those that set the marks they ask for.
func ruled(j *journey) string {
	var words []string
	for _, x := range j.Translations {
		switch {
		case x.Rule == nil:
			words = append(words, x.Kind+" by no rule")
		case x.Rule.Marker != nil:
			words = append(words, x.Rule.Text+" by "+x.Rule.Marker.Text)
		default:
			words = append(words, x.Rule.Text)
		}
	}
	return strings.Join(words, ", ")
}

// TestPodmanProbesAndFlows asks what a packet meets before and after it is sent, and
// whose the entries of the table are.
func TestPodmanProbesAndFlows(t *testing.T) {
	e := podmanHost(t)
	for _, c := range []struct {
		args   []string
		status int
		says   []string
	}{
		{[]string{"client", "web:80"}, 0, []string{"as client learns from Podman's DNS, 10.89.0.1", "REACHED: web answered", "as expected"}},
		{[]string{"plain", "web:80"}, 0, []string{"but plain can't resolve that name: no network has both of them", "(MASQUERADE 10.88.0.2 ⇒ 10.89.0.1)", "as expected"}},
		{[]string{"client", hostAddress.String() + ":8080"}, 0, []string{"(DNAT 192.0.2.10:8080 ⇒ 10.89.0.2:80)", "(MASQUERADE 10.89.0.3 ⇒ 10.89.0.1)", "REACHED: web", "as expected"}},
		{[]string{"host", "127.0.0.1:8080"}, 0, []string{"(MASQUERADE 127.0.0.1 ⇒ 10.89.0.1)", "REACHED: web", "as expected"}},
		{[]string{"client", internet.String()}, 0, []string{"(MASQUERADE 10.89.0.3 ⇒ 192.0.2.10)", "REACHED"}},
		{[]string{"silent", internet.String()}, 1, []string{"no route"}},
	} {
		out, errs, status := runProbe(t, e, c.args...)
		says(t, "probe "+strings.Join(c.args, " "), string(out)+errs, c.says...)
		same(t, "status of probe "+strings.Join(c.args, " "), status, c.status)
	}
	c, err := lab.DialTCP(t.Context(), e.Namespace("client"), netip.MustParseAddrPort("0.0.0.0:36001"), netip.AddrPortFrom(hostAddress, 8080))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	printed, said, status := finish(t, e.Command(natlens, "flows", "--json", "192.0.2.10:8080"))
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	listed, err := e.Command("conntrack", "-L", "-o", "id", "-p", "tcp", "--orig-port-src", "36001").Output()
	if err != nil {
		t.Fatal(err)
	}
	entry := oracletest.Entries(t, string(listed))[0]
	found := false
	for _, f := range flowsTold(t, printed) {
		if f.Original.Source.Port != 36001 || f.Namespace != "host" {
			continue
		}
		found = true
		same(t, "id", f.ID, entry.ID)
		same(t, "original", [2]address{f.Original.Source, f.Original.Destination}, entry.Original)
		same(t, "reply", [2]address{f.Reply.Source, f.Reply.Destination}, entry.Reply)
		same(t, "from and to", f.From.Name+" "+f.To.Name, "client web")
		same(t, "rules", ruled(&journey{Translations: f.Translations}), ruledByMark(t, e))
	}
	if !found {
		t.Errorf("flows does not tell of %+v:\n%s", entry, printed)
	}
	says(t, "flows", tell(t, e, "flows", "client"), "client:36001 → web:80", "mark set by -A NETAVARK-HOSTPORT-SETMARK -j MARK --set-xmark 0x2000/0x2000")
}

func ruledByMark(t *testing.T, e *engine.Engine) string {
	rules := iptablesSave(t, e.Command)
	return rules.one(t, "-A NETAVARK-DN-", "--dport 8080 -j DNAT --to-destination 10.89.0.2:80") + ", " +
		rules.one(t, "-A NETAVARK-HOSTPORT-MASQ ", "--mark 0x2000/0x2000 -j MASQUERADE") + " by " +
		rules.one(t, "-A NETAVARK-HOSTPORT-SETMARK ", "-j MARK --set-xmark 0x2000/0x2000")
}

// TestPodmanWhileWatching starts and removes containers that no engine announces.
func TestPodmanWhileWatching(t *testing.T) {
	e := engine.StartPodman(t)
	w := startWatch(t, e, "--json", "--events", "icmp")
	e.Run("--name", "late", "box")
	await(t, 20*time.Second, "the event of late", func() bool {
		return strings.Contains(w.stdout.String(), `"kind":"event"`) && strings.Contains(w.stdout.String(), `"late"`)
	})
	in := e.Namespace("late")
	l := &load{t: t, e: e}
	await(t, 20*time.Second, "a hop in late", func() bool {
		l.pings(in, internet, 4100, 1)
		return strings.Contains(w.stdout.String(), `"namespace":"late"`)
	})
	all, _ := w.journeys()
	for _, j := range echoes(all, 8, 4100) {
		if j.Hops[0].Namespace == "late" {
			same(t, "from", j.From.Name, "late")
			same(t, "hops", shape(j), "late:eth0 out, host:veth0 in, host:podman0 in, host:eth0 out")
		}
	}
	events := 0
	for line := range strings.Lines(w.stdout.String()) {
		var event struct{ Kind, What, Action, Name string }
		if decode(t, []byte(line), &event); event.Kind == "event" && event.Name == "late" {
			events++
		}
	}
	if events == 0 {
		t.Error("no event tells of late")
	}
}

// TestPodmanHairpin: with bridge netfilter a container reaches its own published port
// only if the bridge's port is in hairpin mode.
func TestPodmanHairpin(t *testing.T) {
	e := engine.StartPodman(t)
	e.Network("back_net")
	e.Run("--name", "web", "--network", "back_net", "-p", "8080:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	veth := vethOf(t, e, "web", "eth0")
	published := netip.AddrPortFrom(hostAddress, 8080)
	const why = "10.89.0.2 is behind %v, by which it came, and podman1 sends nothing back there: hairpin mode of that port is off"
	for _, mode := range []string{"off", "on"} {
		t.Run(mode, func(t *testing.T) {
			tune(t, e, "net.bridge.bridge-nf-call-iptables", "1")
			must(t, e.Command("bridge", "link", "set", "dev", veth, "hairpin", mode))
			w := startWatch(t, e, "--json", "tcp dst port 8080")
			ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer stop()
			c, err := lab.DialTCP(ctx, e.Namespace("web"), netip.AddrPort{}, published)
			if err == nil {
				_ = c.Close()
			}
			same(t, "that it is reached", err == nil, mode == "on")
			await(t, 20*time.Second, "a journey", func() bool { return strings.Contains(w.stdout.String(), `"kind":"journey"`) })
			all, _ := w.journeys()
			syn := &all[slices.IndexFunc(all, func(j journey) bool { return len(j.Hops) > 0 && j.Hops[0].Namespace == "web" })]
			line, _, _ := probe(t, e, "web", published.String())
			if line.Expected == nil || line.AsExpected == nil {
				t.Fatalf("%+v", line)
			}
			same(t, "as expected", *line.AsExpected, true)
			if mode == "on" {
				same(t, "SYN", syn.End(), "delivered at web:eth0 in")
				same(t, "probe", line.Result+", "+line.Expected.Result, "reached, reached")
				return
			}
			reason := strings.ReplaceAll(why, "%v", veth)
			v := syn.Verdict
			same(t, "verdict", v.Result+" by "+v.Evidence+": "+v.Reason, "dropped by evaluated: "+reason)
			same(t, "probe", line.Result+", "+line.Expected.Result, "dropped, dropped")
			same(t, "why", line.Expected.Reason, reason)
		})
	}
}
