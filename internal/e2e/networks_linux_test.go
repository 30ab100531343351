package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestExplainNetworksAgainstPings holds what explain says of networks against
// pings between their containers, the host and the outside.
func TestExplainNetworksAgainstPings(t *testing.T) {
	e := engine.Shared(t)
	e.Network("custom")
	e.Network("--internal", "sealed")
	e.Network("-o", "com.docker.network.bridge.enable_icc=false", "silent")
	on := map[string][]string{"bridge": {"br1", "br2"}, "custom": {"cu1", "cu2"}, "sealed": {"se1", "se2"}, "silent": {"si1", "si2"}}
	address := map[string]string{}
	for network, names := range on {
		for _, name := range names {
			e.Run("--name", name, "--network", network, "box")
			address[name] = e.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
		}
	}
	pings := func(from, to string) bool {
		return e.CommandIn(from, "ping", "-n", "-c", "1", "-W", "1", to).Run() == nil
	}
	for network, names := range on {
		out, words, status := finish(t, e.Command(natlens, "explain", network))
		same(t, "status", status, 0)
		told := strings.Join(strings.Fields(out+words), " ")
		claim := func(what, sentence string, want bool) {
			t.Helper()
			if got := strings.Contains(told, sentence); got != want {
				t.Errorf("%s: %s is %v by a ping, but %q is told: %v\n%s", network, what, want, sentence, got, out)
			}
		}
		claim("that they reach each other", "ports of one bridge and reach each other directly, without NAT. The host's rules see it", pings(names[0], address[names[1]]))
		claim("that it gets out", "What is for the outside, the host passes on by eth0.", pings(names[0], lab.ServerAddress.String()))
		claim("that the host reaches it", "it reaches containers at their own address", e.Command("ping", "-n", "-c", "1", "-W", "1", address[names[0]]).Run() == nil)
		claim("that it is served by name", "each asks 127.0.0.11", resolves(e, names[0], names[1]))
		gateway := e.Docker("network", "inspect", "-f", "{{range .IPAM.Config}}{{.Gateway}}{{end}}", network)
		if network == "bridge" {
			gateway = "172.17.0.1"
		}
		claim("that it reaches the host", "Containers reach the host at "+gateway+".", pings(names[0], gateway))
		for other, theirs := range on {
			if other == network {
				continue
			}
			claim("that nothing goes to "+other, other+": isolated.", !pings(names[0], address[theirs[0]]) && !pings(theirs[0], address[names[0]]))
		}
		for _, name := range names {
			claim("who is on it", fmt.Sprintf("%s %s by veth", name, address[name]), true)
		}
	}
	// The rules of isolation are those that iptables has.
	have, err := e.Command("iptables-save", "-t", "filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	out, _, _ := finish(t, e.Command(natlens, "explain", "custom"))
	quoted := 0
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "-A DOCKER-ISOLATION") {
			quoted++
			if !strings.Contains(string(have), line+"\n") {
				t.Errorf("iptables-save has no rule %q", line)
			}
		}
	}
	if quoted < 4 {
		t.Errorf("%d rules quoted\n%s", quoted, out)
	}
}

// TestExplainReachFromOutside: what is said of a container's own address is what
// a machine outside finds that has a route to it, and what another network finds.
func TestExplainReachFromOutside(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.30.7.0/24", "open")
	e.Network("beside")
	e.Run("--name", "opened", "--network", "open", "--ip", "172.30.7.9", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	e.Run("--name", "onlooker", "--network", "beside", "box")
	if out, err := e.CommandOutside("ip", "route", "add", "172.30.7.0/24", "via", lab.HostAddress.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		// The test's context, which e's commands end with, is over by now.
		if out, err := exec.Command("ip", "-n", filepath.Base(e.InternetPath()), "route", "del", "172.30.7.0/24").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	fetch := []string{"-s", "-o", "/dev/null", "-m", "2", "http://172.30.7.9:8000/"}
	if err := e.Command("curl", append([]string{"--retry", "20", "--retry-connrefused", "--retry-delay", "1"}, fetch...)...).Run(); err != nil {
		t.Fatalf("the server does not answer the host: %v", err)
	}
	pinged := e.CommandOutside("ping", "-n", "-c", "1", "-W", "1", "172.30.7.9").Run() == nil
	fetched := e.CommandOutside("curl", fetch...).Run() == nil
	fetchedBeside := e.CommandIn("onlooker", "curl", fetch...).Run() == nil

	out, _, _ := finish(t, e.Command(natlens, "explain", "open"))
	entering, others, _ := strings.Cut(strings.Join(strings.Fields(out), " "), "The host and it")
	const exception = "Except what is published: 172.30.7.9:8000/tcp (opened) is let through"
	same(t, "that a ping from outside is kept out", !strings.Contains(entering, "No rule keeps out what comes for a container's own address, such as 172.30.7.9."), !pinged)
	same(t, "that the published port is reached from outside", strings.Contains(entering, exception) || !strings.Contains(entering, "dropped"), fetched)
	same(t, "that the published port is reached from beside", strings.Contains(others, exception), fetchedBeside)
}

func resolves(e *engine.Engine, from, name string) bool {
	return strings.Contains(e.Docker("exec", from, "sh", "-c", "nslookup "+name+" 2>&1 || true"), "Name:")
}
