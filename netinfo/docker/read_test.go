package docker

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t *testing.T, e *fakeEngine) *Client {
	t.Helper()
	c, err := Open(t.Context(), e.host())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var comparePlain = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func TestInventory(t *testing.T) {
	e := newFakeEngine(t)
	e.addBridged(id("b"), "web", "172.17.0.3", "02:42:ac:11:00:03", 4711)
	e.containers[0]["Names"] = []string{"/other/alias", "/web"}
	e.containers[0]["Ports"] = []any{
		map[string]any{"IP": "0.0.0.0", "PrivatePort": 8000, "PublicPort": 8080, "Type": "tcp"},
		map[string]any{"IP": "::", "PrivatePort": 8000, "PublicPort": 8080, "Type": "tcp"},
		map[string]any{"PrivatePort": 53, "Type": "udp"},
	}
	e.add(id("a"), "job", "none", 4712, map[string]any{"none": map[string]any{"NetworkID": id("e"), "IPAddress": "", "MacAddress": ""}})
	e.add(id("c"), "side", "container:"+id("b"), 4713, map[string]any{})
	e.networks = []map[string]any{
		{
			"Name": "bridge", "Id": bridgeID, "Driver": "bridge", "EnableIPv6": false,
			"IPAM":    map[string]any{"Driver": "default", "Options": nil, "Config": []any{map[string]any{"Subnet": "172.17.0.0/16"}}},
			"Options": map[string]string{"com.docker.network.bridge.name": "docker0", "com.docker.network.bridge.enable_icc": "false"},
		},
		{
			"Name": "back_net", "Id": "7ce3d25ff3d2dd40b5f644f02fe9d1e35f1f5fea8f0fda906deea795868aa622", "Driver": "bridge", "Internal": true,
			"EnableIPv6": true, "Options": map[string]string{}, "IPAM": map[string]any{"Config": []any{
				map[string]any{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}, map[string]any{"Subnet": "fd00:18::/64"},
			}},
		},
		{"Name": "host", "Id": id("d"), "Driver": "host", "IPAM": map[string]any{"Driver": "default", "Config": []any{}}},
		{"Name": "lan", "Id": id("f"), "Driver": "macvlan", "Options": map[string]string{"parent": "eth0"}},
	}
	c := open(t, e)
	got, err := c.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bridged := func(name string) map[string]string { return map[string]string{"com.docker.compose.service": name} }
	want := &Inventory{
		Engine: Engine{
			Name: "Docker Engine", Version: "20.10.24+dfsg1", APIVersion: "1.41", Host: e.host(), OSType: "linux",
			OperatingSystem: "Debian GNU/Linux 12 (bookworm)", Hostname: "vm",
		},
		Containers: []Container{
			{
				ID: id("a"), Name: "job", Image: "box", PID: 4712, Labels: bridged("job"), Mode: "none",
				SandboxKey: "/var/run/docker/netns/aaaaaaaaaaaa", Endpoints: []Endpoint{{Network: "none", NetworkID: id("e")}},
			},
			{
				ID: id("c"), Name: "side", Image: "box", PID: 4713, Labels: bridged("side"), Mode: "container:" + id("b"),
				SandboxKey: "/var/run/docker/netns/cccccccccccc",
			},
			{
				ID: id("b"), Name: "web", Image: "box", PID: 4711, Labels: bridged("web"), Mode: "bridge",
				SandboxKey: "/var/run/docker/netns/bbbbbbbbbbbb",
				Endpoints: []Endpoint{{
					Network: "bridge", NetworkID: bridgeID, MAC: "02:42:ac:11:00:03",
					Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.3/16")},
					Gateways:  []netip.Addr{netip.MustParseAddr("172.17.0.1")},
				}},
				Ports: []Port{
					{Protocol: "udp", ContainerPort: 53},
					{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("0.0.0.0:8080")},
					{Protocol: "tcp", ContainerPort: 8000, HostAddress: netip.MustParseAddrPort("[::]:8080")},
				},
			},
		},
		Networks: []Network{
			{
				ID: "7ce3d25ff3d2dd40b5f644f02fe9d1e35f1f5fea8f0fda906deea795868aa622", Name: "back_net", Driver: "bridge",
				Bridge: "br-7ce3d25ff3d2", Internal: true, IPv6: true, ICC: true, Options: map[string]string{},
				Subnets: []Subnet{
					{Prefix: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1")},
					{Prefix: netip.MustParsePrefix("fd00:18::/64")},
				},
			},
			{
				ID: bridgeID, Name: "bridge", Driver: "bridge", Bridge: "docker0", Masquerade: true,
				Options: map[string]string{"com.docker.network.bridge.name": "docker0", "com.docker.network.bridge.enable_icc": "false"},
				Subnets: []Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16")}},
			},
			{ID: id("d"), Name: "host", Driver: "host"},
			{ID: id("f"), Name: "lan", Driver: "macvlan", Parent: "eth0", Options: map[string]string{"parent": "eth0"}},
		},
	}
	if diff := cmp.Diff(want, got, comparePlain); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestInventoryOfPodman(t *testing.T) {
	e := newFakeEngine(t)
	e.version = map[string]any{"Version": "4.3.1", "ApiVersion": "1.41", "Components": []any{map[string]any{"Name": "Podman Engine", "Version": "4.3.1"}}}
	e.info["SecurityOptions"] = []string{"name=seccomp,profile=default", "name=rootless"}
	// The list has no addresses and no host address for a port of "all"; the
	// mode is the word that Podman uses.
	e.add(id("b"), "web", "bridge", 12, map[string]any{"podman": map[string]any{
		"NetworkID": "podman", "Gateway": "10.88.0.1", "IPAddress": "10.88.0.5", "IPPrefixLen": 16, "MacAddress": "3e:5b:0a:11:22:33",
	}})
	e.containers[0]["NetworkSettings"] = nil
	e.containers[0]["Ports"] = []any{map[string]any{"PrivatePort": 80, "PublicPort": 8081, "Type": "tcp"}}
	e.networks = []map[string]any{
		{"Name": "bridge", "Id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9", "Driver": "bridge", "Options": map[string]string{}},
		{"Name": "new", "Id": id("1"), "Driver": "bridge", "Options": map[string]string{"network_interface": "podman7"}},
		{"Name": "old", "Id": id("2"), "Driver": "bridge"},
	}
	got, err := open(t, e).Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Engine.Name != "Podman Engine" || !got.Engine.Rootless {
		t.Errorf("engine %+v, want a rootless Podman", got.Engine)
	}
	if len(got.Containers) != 1 || len(got.Containers[0].Endpoints) != 1 || got.Containers[0].Endpoints[0].MAC != "3e:5b:0a:11:22:33" {
		t.Fatalf("containers %+v, want one with its endpoint from the inspection", got.Containers)
	}
	if p := got.Containers[0].Ports; len(p) != 1 || p[0].HostAddress.String() != "0.0.0.0:8081" {
		t.Errorf("ports %v, want 0.0.0.0:8081", p)
	}
	bridges := map[string]string{}
	for _, n := range got.Networks {
		bridges[n.Name] = n.Bridge
	}
	if diff := cmp.Diff(map[string]string{"podman": "podman0", "new": "podman7", "old": ""}, bridges); diff != "" {
		t.Errorf("bridges (-want +got):\n%s", diff)
	}
}

func TestInventorySkipsWhatVanishes(t *testing.T) {
	e := newFakeEngine(t)
	e.addBridged(id("a"), "stays", "172.17.0.2", "02:42:ac:11:00:02", 1)
	e.addBridged(id("b"), "gone", "172.17.0.3", "02:42:ac:11:00:03", 2)
	e.addBridged(id("c"), "ended", "172.17.0.4", "02:42:ac:11:00:04", 0)
	delete(e.inspections, id("b"))
	e.inspections[id("c")]["State"] = map[string]any{"Status": "exited", "Running": false}
	got, err := open(t, e).Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Containers) != 1 || got.Containers[0].Name != "stays" {
		t.Errorf("containers %+v, want only the one that stays", got.Containers)
	}
}

func TestInventoryInspectsOnce(t *testing.T) {
	e := newFakeEngine(t)
	e.addBridged(id("a"), "a", "172.17.0.2", "02:42:ac:11:00:02", 1)
	c := open(t, e)
	for range 3 {
		if _, err := c.Inventory(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inspected[id("a")] != 1 {
		t.Errorf("inspected %d times, want once", e.inspected[id("a")])
	}
}

func TestSlowEngine(t *testing.T) {
	e := newFakeEngine(t)
	c := open(t, e)
	e.mu.Lock()
	e.delay = time.Hour
	e.mu.Unlock()
	if _, err := c.Inventory(t.Context()); !errors.Is(err, ErrSlow) {
		t.Errorf("inventory of a slow engine: %v, want ErrSlow", err)
	}
}

func TestOpenSaysWhy(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user: root may use every socket")
	}
	e := newFakeEngine(t)
	if err := os.Chmod(e.path, 0); err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), e.host())
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("Open of a forbidden socket: %v, want ErrPermission", err)
	}
	c.Close()
}

func TestOpenOfDeadSocket(t *testing.T) {
	e := newFakeEngine(t)
	// A socket that stayed behind when its engine was killed.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: e.path + "2", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	c, err := Open(t.Context(), e.host()+"2")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Open of a dead socket: %v, want ECONNREFUSED", err)
	}
	c.Close()
}

func TestOpen(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	missing := filepath.Join(t.TempDir(), "none.sock")
	c, err := Open(t.Context(), "unix://"+missing)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open of a missing socket: %v, want ErrNotExist", err)
	}
	if c == nil {
		t.Error("an engine that is away now may come back: want a client")
	} else {
		c.Close()
	}
	if _, err := Open(t.Context(), "nonsense"); err == nil {
		t.Error("Open of a host that is none: want an error")
	}
	t.Setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
	if got := Candidates(); len(got) != 1 || got[0] != "tcp://192.0.2.1:2375" {
		t.Errorf("candidates %v, want DOCKER_HOST alone", got)
	}
}
