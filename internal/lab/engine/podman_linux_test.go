package engine

import (
	"strings"
	"testing"
)

func TestPodmanReachesTheInternetAndIsReached(t *testing.T) {
	e := StartPodman(t)
	e.Network("back_net")
	e.Run("--name", "back", "--network", "back_net", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	out, err := e.CommandIn("back", "ping", "-c", "1", "-W", "20", "198.51.100.7").CombinedOutput()
	if err != nil || !strings.Contains(string(out), " 0% packet loss") {
		t.Errorf("ping from a container: %v\n%s", err, out)
	}
	page, err := e.CommandOutside("curl", "-sS", "-m", "20", "http://192.0.2.10:8000/test").CombinedOutput()
	if err != nil || string(page) != "{\"Test\":\"OK\"}\n" {
		t.Errorf("fetch from outside: %v, %q", err, page)
	}
	if info := e.Docker("info", "--format", "{{.Host.NetworkBackend}}"); info != "netavark" {
		t.Errorf("network backend %s", info)
	}
	e.Serve()
	// Podman answers Docker's client.
	got, err := e.Command("docker", "--host", "unix:///run/podman/podman.sock", "ps", "--format", "{{.Names}}").CombinedOutput()
	if err != nil || strings.TrimSpace(string(got)) != "back" {
		t.Errorf("docker ps: %v, %q", err, got)
	}
}

func TestStopOfPodmanLeavesNothingBehind(t *testing.T) {
	before := settled(t)
	var ids []string
	t.Run("podman", func(t *testing.T) {
		e := StartPodman(t)
		e.Docker("network", "create", "n")
		for _, args := range [][]string{
			{"--network", "n", "-p", "8000:80", "box", "httpd", "-f"},
			{"--network", "host", "box"},
			{"--network", "none", "box"},
		} {
			ids = append(ids, e.Docker(append([]string{"run", "-d"}, args...)...))
		}
	})
	compare(t, before, ids)
}
