package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// TestLocalTrafficWithoutProxy follows what the host itself begins and what is
// sent to it, on a host without docker-proxy: there NAT does all the work.
func TestLocalTrafficWithoutProxy(t *testing.T) {
	const port, silent, heard = 18070, 7777, 7778
	e := engine.Start(t, "--userland-proxy=false")
	e.Run("--name", "web", "-p", fmt.Sprintf("%d:80", port), "box", "httpd", "-f", "-p", "80", "-h", "/www")
	if out, err := e.Command("iptables", "-I", "INPUT", "-p", "udp", "--dport", fmt.Sprint(silent), "-j", "DROP").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v: %s", err, out)
	}
	const web, bridge, host, outside = "172.17.0.2", "172.17.0.1", "192.0.2.10", "192.0.2.1"
	w := startWatch(t, e, "--json", "tcp or udp")
	fetched(t, e.Command("curl", "-sS", "-m", "5", "--local-port", "42001", fmt.Sprintf("http://127.0.0.1:%d/test", port)))
	fetched(t, e.Command("curl", "-sS", "-m", "5", "--local-port", "42002", fmt.Sprintf("http://%s:%d/test", host, port)))
	for _, c := range []*exec.Cmd{
		e.CommandOutside("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", host, silent)),
		e.CommandOutside("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", host, heard)),
		e.CommandIn("web", "bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", bridge, silent)),
	} {
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", c, err, out)
		}
	}
	time.Sleep(4 * time.Second) // a packet that does not go on is waited for
	all, _ := w.journeys()
	opens := func(flags string, client uint16) *journey {
		return single(t, fmt.Sprintf("%s of port %d", flags, client), all, func(j *journey) bool {
			h := &j.Hops[0]
			return h.TCP != nil && h.TCP.Flags == flags && (h.Source.Port == client || h.Destination.Port == client)
		})
	}
	// No tap ever sees the address that was asked for: the packet is translated
	// before it leaves the host's own sockets. On the way back docker0 shows it
	// half translated.
	for client, asked := range map[uint16]string{42001: "127.0.0.1", 42002: host} {
		question := opens(syn, client)
		holds(t, "to "+asked, question, strings.Join([]string{
			"host:docker0 out " + bridge + " > " + web, "host:VETH out " + bridge + " > " + web, "web:eth0 in " + bridge + " > " + web,
			"delivered at web:eth0 in [tap]",
			"dnat at output by DOCKER [conntrack]", "masquerade at postrouting by POSTROUTING [conntrack]"}, "\n"))
		if question.From.IP != asked || question.From.Name != "host" || question.To.Name != "web" {
			t.Errorf("to %s: from %+v to %+v", asked, question.From, question.To)
		}
		if x := question.Translations[0]; x.Before.Destination.IP != asked || x.Before.Destination.Port != port || x.Between[0] != nil {
			t.Errorf("to %s: first translation %+v", asked, x)
		}
		answer := opens("SYN ACK", client)
		holds(t, "from "+asked, answer, strings.Join([]string{
			"web:eth0 out " + web + " > " + bridge, "host:VETH in " + web + " > " + bridge, "host:docker0 in " + web + " > " + asked,
			"delivered at host:docker0 in [tap]",
			"undo masquerade at prerouting by POSTROUTING [conntrack]", "undo dnat at input by DOCKER [conntrack]"}, "\n"))
		half := ""
		if client == 42001 {
			half = "half translated at docker0: the destination is 127.0.0.1 again, which asked; the source, 172.17.0.2:80, becomes what was asked, 127.0.0.1:18070, behind this tap"
		}
		same(t, "notes from "+asked, noteOf(answer), half)
		if len(answer.Related) != 1 || answer.Related[0].ID != question.ID {
			t.Errorf("from %s: related to %v, want #%d", asked, answer.Related, question.ID)
		}
	}
	datagram := func(from string, to uint16) *journey {
		return single(t, fmt.Sprintf("a datagram to port %d", to), all, func(j *journey) bool {
			return j.Protocol == "udp" && j.From.IP == from && j.To.Port == to
		})
	}
	holds(t, "past INPUT", datagram(outside, heard), "host:eth0 in "+outside+" > "+host+"\ndelivered at host:eth0 in [conntrack]")
	for _, j := range []*journey{datagram(outside, silent), datagram(web, silent)} {
		if v := j.Verdict; v.Result != "dropped" || v.Hook != "input" || v.Evidence != "evaluated" && v.Evidence != "counter" || v.By != "INPUT #1" {
			t.Errorf("from %s, dropped at INPUT: %+v", j.From.IP, v)
		}
	}
}
