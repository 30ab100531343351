package netinfo

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/docker"
	"natlens/netinfo/netns"
)

// The namespaces of the hosts below.
const (
	hostNS netns.ID = 4026531840 + iota
	webNS
	dbNS
	otherNS
	inetNS
)

// id64 makes a container's id of one digit.
func id64(digit string) string { return strings.Repeat(digit, 64) }

func vethFacts(index int32, name string, peer, nsid int32, mac string, addresses ...string) linkFacts {
	f := linkFacts{Link: Link{
		Key: LinkKey{Index: index}, Name: name, Kind: "veth", MAC: mac, MTU: 1500, State: "up", Up: true,
		PeerIndex: peer, PeerNSID: nsid,
	}}
	for _, a := range addresses {
		f.Addresses = append(f.Addresses, netip.MustParsePrefix(a))
	}
	return f
}

func bridgeFacts(index int32, name string, addresses ...string) linkFacts {
	f := vethFacts(index, name, 0, -1, fmt.Sprintf("02:00:00:00:00:%02x", index), addresses...)
	f.Kind = "bridge"
	return f
}

func loopbackFacts() linkFacts {
	return linkFacts{Link: Link{Key: LinkKey{Index: 1}, Name: "lo", Kind: "loopback", PeerNSID: -1}}
}

func underMaster(f linkFacts, master int32) linkFacts {
	f.master = master
	return f
}

// dockerHost is a host with docker0, the containers web and db on it, and an
// uplink that is a veth to the internet. Both containers show eth0@if1x.
func dockerHost() *hostFacts {
	return &hostFacts{
		self: hostNS,
		namespaces: []*namespaceFacts{
			{
				id: hostNS, pids: []int{1}, command: "init", paths: []string{"/proc/1/ns/net"},
				links: []linkFacts{
					loopbackFacts(),
					vethFacts(2, "eth0", 2, 0, "56:00:00:00:00:01", "192.0.2.10/24"),
					bridgeFacts(3, "docker0", "172.17.0.1/16"),
					underMaster(vethFacts(11, "vethaa", 2, 1, "56:00:00:00:00:02"), 3),
					underMaster(vethFacts(12, "vethbb", 2, 2, "56:00:00:00:00:03"), 3),
				},
				defaults: map[int32]bool{2: true},
				peers:    map[int32]netns.ID{0: inetNS, 1: webNS, 2: dbNS},
			},
			containerFacts(webNS, 11, "02:42:ac:11:00:02", "172.17.0.2/16", id64("a")),
			containerFacts(dbNS, 12, "02:42:ac:11:00:03", "172.17.0.3/16", id64("b")),
			{
				id: inetNS, mounts: []string{"/run/netns/inet"}, paths: []string{"/run/netns/inet"},
				links: []linkFacts{loopbackFacts(), vethFacts(2, "eth0", 2, 0, "16:00:00:00:00:01", "192.0.2.1/24")},
				peers: map[int32]netns.ID{0: hostNS},
			},
		},
		inventory: &docker.Inventory{
			Engine: docker.Engine{Name: "Docker Engine", Host: "unix:///var/run/docker.sock"},
			Containers: []docker.Container{
				bridgedContainer(id64("b"), "db", "172.17.0.3/16", "02:42:ac:11:00:03"),
				bridgedContainer(id64("a"), "web", "172.17.0.2/16", "02:42:ac:11:00:02"),
			},
			Networks: []docker.Network{
				{
					ID: "n1", Name: "bridge", Driver: "bridge", Bridge: "docker0",
					Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16")}},
				},
				{ID: "n2", Name: "host", Driver: "host"},
				{ID: "n3", Name: "none", Driver: "null"},
			},
		},
	}
}

func containerFacts(id netns.ID, peer int32, mac, address, container string) *namespaceFacts {
	return &namespaceFacts{
		id: id, pids: []int{int(id % 1000)}, command: "sleep", cgroup: "4:pids:/docker/" + container + "\n",
		paths:    []string{fmt.Sprintf("/proc/%d/ns/net", id%1000)},
		links:    []linkFacts{loopbackFacts(), vethFacts(2, "eth0", peer, 0, mac, address)},
		defaults: map[int32]bool{2: true},
		peers:    map[int32]netns.ID{0: hostNS},
	}
}

func bridgedContainer(id, name, address, mac string) docker.Container {
	return docker.Container{
		ID: id, Name: name, Image: "box", PID: 7, Mode: "bridge",
		Endpoints: []docker.Endpoint{{
			Network: "bridge", NetworkID: "n1", MAC: mac, Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
		}},
	}
}

func namespaceNames(t *Topology) string {
	var s []string
	for _, n := range t.Namespaces {
		s = append(s, n.Name+"/"+n.NameFrom)
	}
	return strings.Join(s, " ")
}

func TestAssembleDockerHost(t *testing.T) {
	top := assemble(dockerHost(), time.Time{})
	if got, want := namespaceNames(top), "host/self db/container inet/mount web/container"; got != want {
		t.Errorf("namespaces %q, want %q", got, want)
	}
	roles := map[string]Role{}
	for _, l := range top.Namespace(hostNS).Links {
		roles[l.Name] = l.Role
	}
	want := map[string]Role{"lo": RoleLoopback, "eth0": RoleUplink, "docker0": RoleBridge, "vethaa": RoleVeth, "vethbb": RoleVeth}
	for name, role := range want {
		if roles[name] != role {
			t.Errorf("role of %s is %s, want %s", name, roles[name], role)
		}
	}
	// eth0 of a container carries its default route and is no uplink.
	if l := top.Namespace(webNS).LinkByName("eth0"); l.Role != RoleVeth || l.Network != "bridge" || !l.Peer.Mutual || l.Peer.Name != "vethaa" {
		t.Errorf("web's eth0 is %+v with peer %+v", l, l.Peer)
	}
	web := top.FindContainer("web")[0]
	if web.Namespace != webNS || web.Proof != "mac 02:42:ac:11:00:02 on eth0" || !slices.Equal(web.Links, []LinkKey{{webNS, 2}}) {
		t.Errorf("web is %v by %q with %v", web.Namespace, web.Proof, web.Links)
	}
	bridge := top.Networks[0]
	if bridge.BridgeLink == nil || *bridge.BridgeLink != (LinkKey{hostNS, 3}) || len(bridge.Members) != 2 {
		t.Fatalf("network bridge is %+v", bridge)
	}
	m := bridge.Members[1]
	if m.Container != web || *m.Link != (LinkKey{webNS, 2}) || *m.HostLink != (LinkKey{hostNS, 11}) {
		t.Errorf("member web is %+v", m)
	}
	if l := top.Link(LinkKey{hostNS, 11}); l.Network != "bridge" {
		t.Errorf("network of vethaa is %q", l.Network)
	}
	if top.Engine == nil || top.Engine.Elsewhere != "" {
		t.Errorf("engine is %+v, want here", top.Engine)
	}
	watch, left := WatchSet(top, false)
	if len(watch) != 3 || watch[0].ID != hostNS || len(left) != 1 || left[0].Name != "inet" || left[0].Wanted {
		t.Errorf("watched %v, left out %v", watch, left)
	}
	if also, _ := WatchSet(top, false, left[len(left)-1].Namespace.ID); len(also) != len(watch)+1 {
		t.Errorf("with one more: %d namespaces, want %d", len(also), len(watch)+1)
	}
	if watch, left = WatchSet(top, true); len(watch) != 4 || len(left) != 0 {
		t.Errorf("all: watched %v, left out %v", watch, left)
	}
}

func TestBindHostNoneAndJoined(t *testing.T) {
	f := dockerHost()
	f.namespaces = append(f.namespaces, &namespaceFacts{
		id: otherNS, pids: []int{70, 71}, cgroup: "0::/system.slice/docker-" + id64("d") + ".scope\n", links: []linkFacts{loopbackFacts()},
	})
	f.inventory.Containers = append(f.inventory.Containers,
		docker.Container{ID: id64("c"), Name: "agent", Mode: "host"},
		docker.Container{ID: id64("d"), Name: "job", Mode: "none"},
		docker.Container{ID: id64("e"), Name: "aside", Mode: "container:" + id64("a")},
		docker.Container{ID: id64("f"), Name: "unproven", Mode: "host"},
	)
	f.cgroups = map[string]processFact{id64("c"): {50, hostNS}, id64("d"): {70, otherNS}, id64("e"): {80, webNS}}
	top := assemble(f, time.Time{})
	for name, want := range map[string]string{
		"agent": "host cgroup of pid 50", "job": "job cgroup of pid 70", "aside": "web cgroup of pid 80", "unproven": "net:[0] ",
	} {
		c := top.FindContainer(name)[0]
		if got := top.NamespaceName(c.Namespace) + " " + c.Proof; got != want {
			t.Errorf("%s is in %q, want %q", name, got, want)
		}
	}
	// The one that made the namespace first, although aside sorts before it.
	if got := top.Namespace(webNS).ContainerNames(); !slices.Equal(got, []string{"web", "aside"}) {
		t.Errorf("containers of web's namespace: %v", got)
	}
	if links := top.FindContainer("agent")[0].Links; links != nil {
		t.Errorf("a container in host mode has links %v", links)
	}
	// Containers in host mode do not make the host's uplink theirs.
	if l := top.Namespace(hostNS).LinkByName("eth0"); l.Role != RoleUplink {
		t.Errorf("eth0 is %s, want uplink", l.Role)
	}
	_, left := WatchSet(top, false)
	if !slices.ContainsFunc(left, func(l LeftOut) bool { return l.Name == "unproven" && l.Wanted && l.Namespace == nil }) {
		t.Errorf("left out %v, want the unproven container among them", left)
	}
}

func TestBindDoesNotTrustEqualAddresses(t *testing.T) {
	// A second engine gave its first container the same MAC and address.
	twin := containerFacts(otherNS, 99, "02:42:ac:11:00:02", "172.17.0.2/16", id64("9"))
	for _, test := range []struct {
		name   string
		change func(*hostFacts)
		want   netns.ID
	}{
		{"the other is another engine's", func(*hostFacts) {}, webNS},
		{"only the other is there", func(f *hostFacts) {
			f.namespaces = slices.DeleteFunc(f.namespaces, func(n *namespaceFacts) bool { return n.id == webNS })
		}, 0},
		{"nothing tells them apart", func(f *hostFacts) {
			twin.cgroup = ""
			f.namespaces[1].cgroup = ""
		}, 0},
		{"a process tells them apart", func(f *hostFacts) {
			twin.cgroup = ""
			f.cgroups = map[string]processFact{id64("a"): {5, otherNS}}
		}, otherNS},
		{"the engine's own mount tells them apart", func(f *hostFacts) {
			twin.cgroup = ""
			f.namespaces[1].paths = []string{"/run/docker/netns/aaaa"}
			f.inventory.Containers[1].SandboxKey = "/var/run/docker/netns/aaaa"
		}, webNS},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := dockerHost()
			copied := *twin
			f.namespaces = append(f.namespaces, &copied)
			saved := twin
			twin = &copied
			defer func() { twin = saved }()
			test.change(f)
			if c := assemble(f, time.Time{}).FindContainer("web")[0]; c.Namespace != test.want {
				t.Errorf("web is in %v by %q, want %v", c.Namespace, c.Proof, test.want)
			}
		})
	}
}

// While a container ends, its link is for a moment in the host's namespace again,
// beside its peer, with the container's MAC address. The container is not.
func TestBindDoesNotFollowALinkOnItsWayOut(t *testing.T) {
	f := dockerHost()
	f.namespaces = slices.DeleteFunc(f.namespaces, func(n *namespaceFacts) bool { return n.id == webNS })
	host := f.namespaces[0]
	for i := range host.links {
		if l := &host.links[i]; l.Name == "vethaa" {
			l.PeerIndex, l.PeerNSID = 13, -1
		}
	}
	host.links = append(host.links, vethFacts(13, "vetha1b2c3d", 11, -1, "02:42:ac:11:00:02", "172.17.0.2/16"))
	if c := assemble(f, time.Time{}).FindContainer("web")[0]; c.Namespace != 0 {
		t.Errorf("web is in %v by %q", c.Namespace, c.Proof)
	}
}

func TestEngineElsewhere(t *testing.T) {
	for _, test := range []struct {
		name   string
		engine docker.Engine
		blind  bool
		want   string // in Elsewhere, or if that is to be empty, in a note
	}{
		{"remote", docker.Engine{Host: "ssh://example"}, false, "remote engine"},
		{"desktop", docker.Engine{Host: "unix:///x", OperatingSystem: "Docker Desktop"}, false, "Docker Desktop's virtual machine"},
		{"rootless", docker.Engine{Host: "unix:///x", Rootless: true}, false, "rootless"},
		{"wsl", docker.Engine{Host: "unix:///x", KernelVersion: "5.15.0-microsoft-standard-WSL2"}, false, "WSL"},
		{"unknown", docker.Engine{Host: "unix:///x"}, false, "--pid=host"},
		{"no privileges", docker.Engine{Host: "unix:///x"}, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := dockerHost()
			f.inventory.Engine, f.blind = test.engine, test.blind
			// None of its containers shows here.
			f.namespaces = []*namespaceFacts{f.namespaces[0], f.namespaces[3]}
			top := assemble(f, time.Time{})
			if test.want == "" {
				if top.Engine.Elsewhere != "" || len(top.Notes) != 1 || !strings.Contains(top.Notes[0].Text, "root") {
					t.Errorf("elsewhere %q, notes %v", top.Engine.Elsewhere, top.Notes)
				}
				return
			}
			if !strings.Contains(top.Engine.Elsewhere, test.want) {
				t.Errorf("elsewhere is %q, want %q in it", top.Engine.Elsewhere, test.want)
			}
		})
	}
}

func TestContainersOfAnotherEngine(t *testing.T) {
	// No engine is asked, and the bridge is in another namespace than natlens.
	f := dockerHost()
	f.inventory, f.self = nil, inetNS
	top := assemble(f, time.Time{})
	if l := top.Namespace(webNS).LinkByName("eth0"); l.Role != RoleVeth {
		t.Errorf("eth0 of a container is %s, want veth", l.Role)
	}
	if l := top.Namespace(hostNS).LinkByName("eth0"); l.Role != RoleUplink {
		t.Errorf("eth0 of its host is %s, want uplink", l.Role)
	}
	if got, want := namespaceNames(top), "host/self docker-aaaaaaaaaaaa/cgroup docker-bbbbbbbbbbbb/cgroup init/command"; got != want {
		t.Errorf("namespaces %q, want %q", got, want)
	}
}

func TestBridgeWithoutMembersOrName(t *testing.T) {
	f := dockerHost()
	f.inventory.Containers = nil
	f.inventory.Networks = []docker.Network{{
		ID: "n1", Name: "old", Driver: "bridge",
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("172.17.0.0/16"), Gateway: netip.MustParseAddr("172.17.0.1")}},
	}}
	n := assemble(f, time.Time{}).Networks[0]
	if n.BridgeLink == nil || *n.BridgeLink != (LinkKey{hostNS, 3}) || n.Bridge != "docker0" {
		t.Errorf("bridge %q at %v, want docker0", n.Bridge, n.BridgeLink)
	}
	// A bridge of that name that serves another network is not this one's.
	f.inventory.Networks[0] = docker.Network{
		ID: "n1", Name: "bridge", Driver: "bridge", Bridge: "docker0",
		Subnets: []docker.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/16")}},
	}
	if n := assemble(f, time.Time{}).Networks[0]; n.BridgeLink != nil {
		t.Errorf("bridge at %v, want none", *n.BridgeLink)
	}
}

func TestStaleInventoryDropsWhatIsNotProven(t *testing.T) {
	f := dockerHost()
	f.stale = true
	f.namespaces = slices.DeleteFunc(f.namespaces, func(n *namespaceFacts) bool { return n.id == webNS })
	top := assemble(f, time.Time{})
	if len(top.Containers) != 1 || top.Containers[0].Name != "db" {
		t.Errorf("containers %v, want db alone", top.Containers)
	}
}

func TestNamesAreUniqueAndStay(t *testing.T) {
	f := dockerHost()
	f.inventory = nil
	for _, nf := range f.namespaces[1:3] {
		nf.cgroup = ""
	}
	first := assemble(f, time.Time{})
	if got, want := namespaceNames(first), "host/self inet/mount sleep/command sleep-2/command"; got != want {
		t.Errorf("namespaces %q, want %q", got, want)
	}
	// The lower inode had it first; when it goes, the other keeps its number;
	// a newcomer does not take a name that is in use.
	f.names = map[netns.ID]string{}
	for _, n := range first.Namespaces {
		f.names[n.ID] = n.Name
	}
	f.namespaces = append(f.namespaces, &namespaceFacts{id: 17, command: "sleep"})
	if top := assemble(f, time.Time{}); top.NamespaceName(webNS) != "sleep" || top.NamespaceName(dbNS) != "sleep-2" || top.NamespaceName(17) != "sleep-3" {
		t.Errorf("names %q", namespaceNames(top))
	}
	// Podman's own mounts are no names.
	f.namespaces[3].mounts = []string{"/run/netns/netns-d658350c-4e2e-3c48-7d11-34858f2749af"}
	f.namespaces[3].cgroup = "0::/machine.slice/libpod-" + id64("c") + ".scope/container\n"
	if got := assemble(f, time.Time{}).NamespaceName(inetNS); got != "libpod-cccccccccccc" {
		t.Errorf("a namespace that Podman mounted is called %q", got)
	}
	// A container called host does not displace the host.
	f = dockerHost()
	f.inventory.Containers[1].Name = "host"
	if got, want := namespaceNames(assemble(f, time.Time{})), "host/self db/container host-2/container inet/mount"; got != want {
		t.Errorf("namespaces %q, want %q", got, want)
	}
}

func TestCgroup(t *testing.T) {
	a, b := id64("a"), id64("b")
	for _, test := range []struct{ text, name, container string }{
		{"12:pids:/docker/" + a + "\n0::/docker/" + a + "\n", "docker-aaaaaaaaaaaa", a},
		{"0::/system.slice/docker-" + a + ".scope\n", "docker-aaaaaaaaaaaa", a},
		{"0::/../docker-" + a + ".scope\n", "docker-aaaaaaaaaaaa", a},
		{"0::/machine.slice/libpod-" + a + ".scope/container\n", "libpod-aaaaaaaaaaaa", a},
		{"0::/docker/" + a + "/docker/" + b + "\n", "docker-bbbbbbbbbbbb", b},
		{"0::/docker/" + a + "/init.scope\n", "docker-aaaaaaaaaaaa", a},
		{"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + a + ".scope\n", "cri-containerd-aaaaaaaaaaaa", a},
		{"11:cpu:/kubepods/besteffort/pod1/" + a + "\n", "kubepods-aaaaaaaaaaaa", a},
		{"0::/lxc.payload.web/init.scope\n", "web", ""},
		{"4:cpu:/lxc/web\n", "web", ""},
		{`0::/machine.slice/machine-my\x2dbox.scope` + "\n", "my-box", ""},
		{"0::/system.slice/nginx.service\n", "nginx", ""},
		{"0::/user.slice/user-1000.slice/user@1000.service/app.slice/firefox.scope\n", "", ""},
		{"0::/\n", "", ""},
		{"", "", ""},
		{"garbage", "", ""},
	} {
		if got := cgroupName(test.text); got != test.name {
			t.Errorf("name of %q is %q, want %q", test.text, got, test.name)
		}
		if got := cgroupContainer(test.text); got != test.container {
			t.Errorf("container of %q is %q, want %q", test.text, got, test.container)
		}
	}
}

func TestUplinkBehindBridge(t *testing.T) {
	// br0 has the default route, a network card and a container's veth.
	f := dockerHost()
	host := f.namespaces[0]
	host.defaults = map[int32]bool{3: true}
	card := vethFacts(20, "eno1", 0, -1, "52:00:00:00:00:01")
	card.Kind, card.master = "device", 3
	host.links = append(host.links, card)
	top := assemble(f, time.Time{})
	for name, want := range map[string]Role{"docker0": RoleBridge, "eno1": RoleUplink, "vethaa": RoleVeth, "eth0": RoleVeth} {
		if got := top.Namespace(hostNS).LinkByName(name).Role; got != want {
			t.Errorf("role of %s is %s, want %s", name, got, want)
		}
	}
}
