package engine

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(keepVariable) != "" {
		keep()
	}
	os.Exit(Main(m))
}

func TestContainersReachTheInternetAndAreReached(t *testing.T) {
	e := Shared(t)
	e.Network("back_net")
	e.Run("--name", "back", "--network", "back_net", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	e.Run("--name", "ubuntu", "box", "sleep", "1000000")

	out := e.Docker("exec", "ubuntu", "ping", "-c", "1", "-W", "20", "198.51.100.7")
	if !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping from a container:\n%s", out)
	}
	page, err := e.CommandOutside("curl", "-sS", "-m", "20", "http://192.0.2.10:8000/test").CombinedOutput()
	if err != nil || string(page) != "{\"Test\":\"OK\"}\n" {
		t.Errorf("fetch from outside: %v, %q", err, page)
	}
}

func TestCommandsStandWhereTheySay(t *testing.T) {
	e := Shared(t)
	id := e.Run("box")
	for name, c := range map[string]struct {
		cmd  *exec.Cmd
		want string
	}{
		"host":      {e.Command("readlink", "/proc/self/ns/net"), e.Host().ID().String()},
		"internet":  {e.CommandOutside("readlink", "/proc/self/ns/net"), e.Internet().ID().String()},
		"container": {e.CommandIn(id, "readlink", "/proc/self/ns/net"), e.Namespace(id).ID().String()},
		"docker":    {e.Command("docker", "ps", "-q", "--no-trunc"), id},
	} {
		out, err := c.cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// A port that a test names is never one that the kernel chose for somebody before.
func TestNamedPortsAreFree(t *testing.T) {
	e := Shared(t)
	for name, command := range map[string]func(string, ...string) *exec.Cmd{"host": e.Command, "internet": e.CommandOutside} {
		out, err := command("sysctl", "-n", "net.ipv4.ip_local_port_range").Output()
		if got := strings.Join(strings.Fields(string(out)), " "); err != nil || got != chosenPorts {
			t.Errorf("%s: the kernel chooses from %q, %v, want %s", name, got, err, chosenPorts)
		}
	}
}

func TestStartPassesArgumentsOn(t *testing.T) {
	e := Start(t, "--bip", "10.99.0.1/24", "--userland-proxy=false")
	if got := e.Docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "bridge"); got != "10.99.0.0/24" {
		t.Errorf("subnet %s, want 10.99.0.0/24", got)
	}
}

func TestStartTellsWhyNot(t *testing.T) {
	need(t)
	if d, err := start([]string{"--no-such-flag"}); err == nil {
		t.Error("dockerd took --no-such-flag", d.stop())
	} else if !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("error %q, want dockerd's own words", err)
	}
}

func TestMissingPackagesAreNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: an ordinary user misses more than packages")
	}
	t.Setenv("PATH", t.TempDir())
	if got := missing(); !strings.HasPrefix(got, "Debian packages docker.io, iptables, ") {
		t.Errorf("missing: %q", got)
	}
}
