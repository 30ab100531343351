package podman

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"natlens/netinfo/docker"
)

// backNet is a network as Podman 4.3 wrote it.
const backNet = `{
     "name": "back_net",
     "id": "be0ef87dcf0de00c46a90215de34b00ebf865c8a584f04e9adbdf50a1deaa1f4",
     "driver": "bridge",
     "network_interface": "podman1",
     "created": "2026-11-24T00:19:28.958186877Z",
     "subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}, {"subnet": "fd00:5::/64", "gateway": "fd00:5::1"}],
     "ipv6_enabled": true, "internal": false, "dns_enabled": true,
     "ipam_options": {"driver": "host-local"}
}`

var compare = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}, netip.AddrPort{})

func TestParseNetwork(t *testing.T) {
	n, ok := parseNetwork([]byte(backNet))
	want := docker.Network{
		ID: "be0ef87dcf0de00c46a90215de34b00ebf865c8a584f04e9adbdf50a1deaa1f4", Name: "back_net", Driver: "bridge", Bridge: "podman1",
		IPv6: true, Masquerade: true, ICC: true, Unasked: true,
		Subnets: []docker.Subnet{
			{Prefix: netip.MustParsePrefix("10.89.0.0/24"), Gateway: netip.MustParseAddr("10.89.0.1")},
			{Prefix: netip.MustParsePrefix("fd00:5::/64"), Gateway: netip.MustParseAddr("fd00:5::1")},
		},
	}
	if diff := cmp.Diff(want, n, compare); !ok || diff != "" {
		t.Error(diff)
	}
	n, ok = parseNetwork([]byte(`{"name":"lan","id":"x","driver":"macvlan","network_interface":"eth0","internal":true}`))
	if diff := cmp.Diff(docker.Network{ID: "x", Name: "lan", Driver: "macvlan", Parent: "eth0", Internal: true, Unasked: true}, n, compare); !ok || diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "[]", `{"name":"x"}`, `{"id":"x"}`} {
		if n, ok := parseNetwork([]byte(text)); ok {
			t.Errorf("%q is a network: %+v", text, n)
		}
	}
}

// podmanFolder lays down what Podman leaves: a container of its own namespace and
// one that joined it. This process stands for the monitors.
func podmanFolder(t *testing.T) (monitors []Monitor, networks string) {
	t.Helper()
	root := t.TempDir()
	networks = filepath.Join(root, "networks")
	write(t, filepath.Join(networks, "back_net.json"), backNet)
	write(t, filepath.Join(networks, "broken.json"), "{")
	write(t, filepath.Join(networks, "netavark.lock"), "")
	var images []string
	for i, c := range []struct{ id, name, namespace, pid string }{
		{strings.Repeat("a", 64), "web", `{"type":"network","path":"/run/netns/netns-1"}`, "4711\n"},
		{strings.Repeat("b", 64), "sidecar", `{"type":"network","path":"/proc/4711/ns/net"}`, "4712"},
		{strings.Repeat("c", 64), "hosted", `{"type":"pid"}`, ""},
	} {
		m := Monitor{
			PID: os.Getpid(), Container: c.id, Name: c.name, Backend: "netavark", Networks: networks,
			Bundle: filepath.Join(root, "overlay-containers", c.id, "userdata"), PIDFile: filepath.Join(root, "pids", c.id),
		}
		write(t, filepath.Join(m.Bundle, "config.json"), `{"linux":{"namespaces":[`+c.namespace+`]}}`)
		write(t, m.PIDFile, c.pid)
		monitors = append(monitors, m)
		if i < 2 {
			images = append(images, `{"id":"`+c.id+`","metadata":"{\"image-name\":\"localhost/`+c.name+`\"}"}`)
		}
	}
	write(t, filepath.Join(root, "overlay-containers", "containers.json"), "["+strings.Join(images, ",")+"]")
	return monitors, networks
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInventoryOfFiles(t *testing.T) {
	monitors, networks := podmanFolder(t)
	now := time.Unix(1795479569, 0)
	var f Files
	inventory := f.Inventory(monitors, now)
	a, b, c := monitors[0].Container, monitors[1].Container, monitors[2].Container
	want := []docker.Container{
		{ID: c, Name: "hosted", Mode: "host", Unasked: true, PortsUnknown: true},
		{ID: b, Name: "sidecar", Image: "localhost/sidecar", PID: 4712, Mode: "container:" + a, Unasked: true, PortsUnknown: true},
		{ID: a, Name: "web", Image: "localhost/web", PID: 4711, Mode: "private", SandboxKey: "/run/netns/netns-1", Unasked: true, PortsUnknown: true},
	}
	if diff := cmp.Diff(want, inventory.Containers); diff != "" {
		t.Error(diff)
	}
	if got := names(inventory); got != "back_net podman" {
		t.Errorf("networks %q", got)
	}
	if e := inventory.Engine; !e.Unasked || e.Rootless || e.Name != "Podman" {
		t.Errorf("engine %+v", e)
	}
	if again := f.Inventory(monitors, now.Add(time.Second)); again != inventory {
		t.Error("read again though nothing changed")
	}
	write(t, filepath.Join(networks, "own.json"), `{"name":"podman","id":"changed","driver":"bridge"}`)
	if got := names(f.Inventory(monitors, now.Add(time.Minute))); got != "back_net podman" {
		t.Errorf("networks %q with the default one changed", got)
	}
	if got := f.Inventory(monitors[:1], now.Add(time.Minute)); len(got.Containers) != 1 {
		t.Errorf("%d containers when two have gone", len(got.Containers))
	}
	if f.Inventory(nil, now) != nil {
		t.Error("an inventory without a monitor")
	}
	// Without root, and with CNI, the networks are elsewhere.
	for i := range monitors {
		monitors[i].UID = 1000
	}
	if got := f.Inventory(monitors, now); !got.Engine.Rootless || len(got.Networks) != 0 {
		t.Errorf("%+v without root", got)
	}
	monitors[0].UID, monitors[0].Backend = 0, "cni"
	if got := f.Inventory(monitors, now); got.Engine.Rootless || len(got.Networks) != 0 {
		t.Errorf("%+v with CNI", got)
	}
}

func names(i *docker.Inventory) string {
	var words []string
	for _, n := range i.Networks {
		words = append(words, n.Name)
	}
	return strings.Join(words, " ")
}

// Whoever can start a monitor chooses its paths.
func TestFilesThatAreNone(t *testing.T) {
	folder := t.TempDir()
	pipe := filepath.Join(folder, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, folder, "/dev/zero", filepath.Join(folder, "none")} {
		if text := readFile(name); text != nil {
			t.Errorf("%d bytes of %s", len(text), name)
		}
	}
}
