package netinfo

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

type ipLink struct {
	Index     int32    `json:"ifindex"`
	Name      string   `json:"ifname"`
	LinkIndex int32    `json:"link_index"`
	Link      string   `json:"link"`
	NSID      *int32   `json:"link_netnsid"`
	Flags     []string `json:"flags"`
	MTU       int      `json:"mtu"`
	State     string   `json:"operstate"`
	Type      string   `json:"link_type"`
	MAC       string   `json:"address"`
	Master    string   `json:"master"`
	Promisc   int      `json:"promiscuity"`
	Info      struct {
		Kind string `json:"info_kind"`
		Data struct {
			Mode string `json:"mode"` // of a macvlan
		} `json:"info_data"`
		Port struct {
			Hairpin *bool `json:"hairpin"`
		} `json:"info_slave_data"`
	} `json:"linkinfo"`
	Addresses []struct {
		Local  string `json:"local"`
		Prefix int    `json:"prefixlen"`
	} `json:"addr_info"`
}

type ipRoute struct {
	Destination string `json:"dst"`
	Gateway     string `json:"gateway"`
	Device      string `json:"dev"`
	Source      string `json:"prefsrc"`
	Metric      int    `json:"metric"`
}

type ipNSID struct {
	NSID int32  `json:"nsid"`
	Name string `json:"name"`
}

// checkAgainstIP compares what a Topology says of a namespace with ip(8).
func checkAgainstIP(t *testing.T, top *Topology, name string) {
	t.Helper()
	n := top.Namespace(idOf(t, name))
	if n == nil {
		t.Fatalf("%s is not in the topology", name)
	}
	links := ipJSON[ipLink](t, "-n", name, "-d", "-j", "addr")
	if len(links) != len(n.Links) {
		t.Errorf("%s has %d links, ip says %d", name, len(n.Links), len(links))
	}
	for _, want := range links {
		got := top.Link(LinkKey{n.ID, want.Index})
		if got == nil {
			t.Errorf("%s: link %d (%s) is missing", name, want.Index, want.Name)
			continue
		}
		kind := cmp.Or(want.Info.Kind, "device")
		if want.Type == "loopback" {
			kind = "loopback"
		}
		mac := want.MAC
		if kind == "loopback" {
			mac = ""
		}
		var addresses []string
		for _, a := range want.Addresses {
			addresses = append(addresses, a.Local+"/"+strconv.Itoa(a.Prefix))
		}
		var have []string
		for _, a := range got.Addresses {
			have = append(have, a.String())
		}
		slices.Sort(addresses)
		slices.Sort(have)
		master := ""
		if got.Master != nil {
			master = top.Link(*got.Master).Name
		}
		hairpin := ""
		if want.Info.Port.Hairpin != nil {
			hairpin = map[bool]string{true: HairpinOn, false: HairpinOff}[*want.Info.Port.Hairpin]
		}
		is := fmt.Sprint(got.Name, got.Kind, got.MAC, have, got.MTU, got.State, got.Up, got.Promisc, master, got.Mode, got.Hairpin)
		should := fmt.Sprint(want.Name, kind, mac, addresses, want.MTU, strings.ToLower(want.State),
			slices.Contains(want.Flags, "UP"), want.Promisc > 0, want.Master, want.Info.Data.Mode, hairpin)
		if is != should {
			t.Errorf("%s: link is\n  %s, ip says\n  %s", name, is, should)
		}
		if want.NSID != nil && got.PeerNSID != *want.NSID {
			t.Errorf("%s: %s has namespace id %d, ip says %d", name, got.Name, got.PeerNSID, *want.NSID)
		}
		if want.LinkIndex != 0 && got.PeerIndex != want.LinkIndex {
			t.Errorf("%s: %s has peer index %d, ip says %d", name, got.Name, got.PeerIndex, want.LinkIndex)
		}
	}
	checkPeersAgainstIP(t, top, n, name)
	checkRoutesAgainstIP(t, top, n, name)
}

// checkPeersAgainstIP looks the namespace of every peer up in ip netns list-id.
func checkPeersAgainstIP(t *testing.T, top *Topology, n *Namespace, name string) {
	t.Helper()
	names := map[int32]string{}
	for _, id := range ipJSON[ipNSID](t, "-n", name, "-j", "netns", "list-id") {
		names[id.NSID] = id.Name
	}
	for _, l := range n.Links {
		if l.Kind != "veth" {
			continue
		}
		if l.Peer == nil {
			t.Errorf("%s: veth %s has no peer", name, l.Name)
			continue
		}
		want, ok := n.ID, true
		if l.PeerNSID != -1 {
			if names[l.PeerNSID] == "" {
				continue // a namespace that ip has no name for
			}
			want = idOf(t, names[l.PeerNSID])
		}
		if l.Peer.Key.Namespace != want || !ok || l.Peer.Key.Index != l.PeerIndex {
			t.Errorf("%s: peer of %s is %v, ip says index %d in %s (%v)", name, l.Name, l.Peer.Key, l.PeerIndex, names[l.PeerNSID], want)
		}
		if !l.Peer.Mutual || top.Link(l.Peer.Key).Name != l.Peer.Name {
			t.Errorf("%s: peer of %s is %+v, want mutual and named", name, l.Name, *l.Peer)
		}
	}
}

func checkRoutesAgainstIP(t *testing.T, top *Topology, n *Namespace, name string) {
	t.Helper()
	var want, got []string
	for _, family := range []string{"-4", "-6"} {
		for _, r := range ipJSON[ipRoute](t, "-n", name, family, "-j", "route", "show", "table", "main") {
			destination := r.Destination
			if destination == "default" {
				destination = map[string]string{"-4": "0.0.0.0/0", "-6": "::/0"}[family]
			} else if !strings.Contains(destination, "/") {
				destination += map[string]string{"-4": "/32", "-6": "/128"}[family]
			}
			want = append(want, fmt.Sprint(destination, " ", r.Gateway, " ", r.Device, " ", r.Source, " ", r.Metric))
		}
	}
	for _, r := range n.Routes {
		if r.Local {
			continue
		}
		text := func(a netip.Addr) string {
			if !a.IsValid() {
				return ""
			}
			return a.String()
		}
		device := ""
		if l := top.Link(LinkKey{n.ID, r.Link}); l != nil {
			device = l.Name
		}
		got = append(got, fmt.Sprint(r.Destination, " ", text(r.Gateway), " ", device, " ", text(r.Source), " ", r.Metric))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%s: routes are\n  %s\nip says\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestScanResolvesManyEqualPeerIndexes(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	ip(t, "-n", host, "link", "add", "br0", "type", "bridge")
	ip(t, "-n", host, "link", "set", "br0", "up")
	ip(t, "-n", host, "addr", "add", "10.9.0.1/24", "dev", "br0")
	var children []string
	for i := range 12 {
		child := newNetns(t)
		children = append(children, child)
		// In each child eth0 is link 2, so every host end says @if2.
		connect(t, child, "eth0", host, fmt.Sprintf("v%d", i))
		ip(t, "-n", host, "link", "set", fmt.Sprintf("v%d", i), "master", "br0")
		ip(t, "-n", child, "addr", "add", fmt.Sprintf("10.9.0.%d/24", i+2), "dev", "eth0")
		ip(t, "-n", child, "addr", "add", fmt.Sprintf("fd09::%d/64", i+2), "dev", "eth0", "nodad")
		ip(t, "-n", child, "route", "add", "default", "via", "10.9.0.1")
	}
	// A pair within one namespace, one between two children, one below a child.
	ip(t, "-n", host, "link", "add", "in0", "type", "veth", "peer", "name", "in1")
	connect(t, children[0], "side", children[1], "side")
	nested := newNetns(t)
	connect(t, nested, "eth0", children[2], "below")
	for _, child := range []string{host, children[5]} {
		ip(t, "-n", child, "link", "add", "br7", "type", "bridge")
		for i, mode := range []string{"on", "off"} {
			port := "port" + strconv.Itoa(i)
			ip(t, "-n", child, "link", "add", port, "type", "veth", "peer", "name", port+"far")
			ip(t, "-n", child, "link", "set", port, "master", "br7")
			ip(t, "-n", child, "link", "set", port, "type", "bridge_slave", "hairpin", mode)
		}
	}
	ip(t, "-n", host, "link", "add", "mv0", "link", "in0", "netns", children[3], "type", "macvlan", "mode", "bridge")
	ip(t, "-n", host, "link", "add", "mv1", "link", "in0", "netns", children[4], "type", "macvlan", "mode", "vepa")

	top := scanAtRest(t, host, append(children, nested, host)...)
	checkAgainstIP(t, top, host)
	for _, child := range append(children, nested) {
		checkAgainstIP(t, top, child)
	}

	h := top.Namespace(top.Self)
	if h.Name != "host" || top.Namespaces[0] != h {
		t.Errorf("own namespace is %q, want host, and first", h.Name)
	}
	same := 0
	for _, l := range h.Links {
		if l.Kind == "veth" && l.PeerIndex == 2 {
			same++
		}
	}
	if same < 12 {
		t.Fatalf("%d links show @if2: the test does not test", same)
	}
	if ports := top.Ports(h.LinkByName("br0").Key); len(ports) != 12 {
		t.Errorf("br0 has %d ports, want 12", len(ports))
	}
	mv := top.Namespace(idOf(t, children[3])).LinkByName("mv0")
	if want := h.LinkByName("in0").Key; mv.Parent == nil || *mv.Parent != want {
		t.Errorf("parent of the macvlan is %v, want %v", mv.Parent, want)
	}
	// Children hang on a bridge of the host and are no hosts themselves.
	if l := top.Namespace(idOf(t, children[0])).LinkByName("eth0"); l.Role != RoleVeth {
		t.Errorf("eth0 of a child is %s, want veth", l.Role)
	}
	if name, n := top.OwnerOf(netip.MustParseAddr("10.9.0.4"), top.Self); name != children[2] || n == nil {
		t.Errorf("10.9.0.4 belongs to %q, want %q", name, children[2])
	}
	watch, left := WatchSet(top, false)
	if len(watch) != 13 {
		t.Errorf("%d namespaces are watched, want the host and 12 children", len(watch))
	}
	if !slices.ContainsFunc(left, func(l LeftOut) bool { return l.Name == nested && !l.Wanted }) {
		t.Errorf("the nested namespace is not among those left out: %v", left)
	}
}

func TestScanCallsVethUplink(t *testing.T) {
	needRoot(t)
	host, inet := newNetns(t), newNetns(t)
	connect(t, host, "eth0", inet, "eth0")
	ip(t, "-n", host, "addr", "add", "192.0.2.10/24", "dev", "eth0")
	ip(t, "-n", inet, "addr", "add", "192.0.2.1/24", "dev", "eth0")
	ip(t, "-n", host, "route", "add", "default", "via", "192.0.2.1")
	top := scanFrom(t, host)
	if l := top.Namespace(top.Self).LinkByName("eth0"); l.Role != RoleUplink {
		t.Errorf("the host's eth0 is %s, want uplink", l.Role)
	}
	if l := top.Namespace(idOf(t, inet)).LinkByName("eth0"); l.Role != RoleVeth {
		t.Errorf("the other end is %s, want veth", l.Role)
	}
}

// scanAtRest scans at a moment when nothing in the namespaces changes: a link's
// state follows its peer's with a delay.
func scanAtRest(t *testing.T, host string, names ...string) *Topology {
	t.Helper()
	look := func() string {
		var all strings.Builder
		for _, name := range names {
			all.Write(ip(t, "-n", name, "addr"))
			all.Write(ip(t, "-n", name, "-6", "route"))
		}
		return all.String()
	}
	// The kernel tells of a carrier up to a second late (net/core/link_watch.c).
	late := regexp.MustCompile(`LOWER_UP.* state (DOWN|LOWERLAYERDOWN)`)
	for range 100 {
		before := look()
		time.Sleep(50 * time.Millisecond)
		top := scanFrom(t, host)
		if look() == before && !late.MatchString(before) {
			return top
		}
	}
	t.Fatal("the namespaces do not come to rest")
	return nil
}

// holdProcess starts a process in a new namespace and returns its id.
func holdProcess(t *testing.T) int {
	t.Helper()
	c := exec.Command("sleep", "1000")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // says that it was killed
	})
	return c.Process.Pid
}

func TestScanFindsNamespacesByProcessMountAndDescriptor(t *testing.T) {
	needRoot(t)
	pid := holdProcess(t)
	process, err := os.Readlink(processPath(pid))
	if err != nil {
		t.Fatal(err)
	}
	mounted := newNetns(t)
	// A process that has a descriptor of a namespace without being in it. It
	// must be another than this one: one's own descriptors hold nothing.
	held, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(held.Path())
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sleep", "1000")
	c.ExtraFiles = []*os.File{file}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	held.Close()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})

	top, err := Scan(t.Context(), Options{NoEngine: true})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := parseNamespace(process)
	n := top.Namespace(id)
	if n == nil || !slices.Contains(n.PIDs, pid) || !strings.HasPrefix(n.Name, "sleep") || n.NameFrom != "command" {
		t.Errorf("namespace by process: %+v", n)
	}
	n = top.Namespace(idOf(t, mounted))
	if n == nil || n.Name != mounted || n.NameFrom != "mount" || n.Paths[0] != "/run/netns/"+mounted {
		t.Errorf("namespace by mount: %+v", n)
	}
	n = top.Namespace(held.ID())
	want := fmt.Sprintf("/proc/%d/fd/3", c.Process.Pid)
	if n == nil || !slices.Contains(n.Paths, want) || n.NameFrom != "inode" {
		t.Fatalf("namespace by descriptor: %+v", n)
	}
	h, err := n.Open()
	if err != nil || h.ID() != n.ID {
		t.Fatalf("Open: %v", err)
	}
	h.Close()
	names := map[string]bool{}
	for _, n := range top.Namespaces {
		if names[n.Name] {
			t.Errorf("two namespaces are called %q", n.Name)
		}
		names[n.Name] = true
	}
}

func TestScanShowsPeerInUnreachableNamespace(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	// Nothing but this process's descriptor holds it, which does not count.
	h, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ip(t, "-n", host, "link", "add", "v0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.Fd()))
	top := scanFrom(t, host)
	l := top.Namespace(top.Self).LinkByName("v0")
	if l == nil || l.Peer == nil || l.Peer.Key.Namespace != 0 || l.Peer.Key.Index == 0 || l.Peer.Name != "" || l.Peer.Mutual {
		t.Errorf("v0 is %+v with peer %+v, want an index in namespace 0", l, l.Peer)
	}
}

// asNobody in the environment makes the test binary scan as it is and exit.
const asNobody = "NATLENS_TEST_AS_NOBODY"

func TestMain(m *testing.M) {
	if os.Getenv(asNobody) != "" {
		os.Exit(scanAsNobody())
	}
	if os.Getenv(asProxy) != "" {
		os.Exit(waitAsProxy())
	}
	os.Exit(m.Run())
}

func TestScanWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	// The other user can't go into the folder that the binary is in.
	exe := filepath.Join(t.TempDir(), "test")
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(exe); strings.Contains(dir, t.Name()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(exe)
	c.Env, c.Dir = append(os.Environ(), asNobody+"=1"), "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}

func scanAsNobody() int {
	top, err := Scan(context.Background(), Options{NoEngine: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	n := top.Namespace(top.Self)
	if n == nil || n.Name != "host" || n.LinkByName("lo") == nil || len(n.Routes) == 0 {
		fmt.Printf("own namespace: %+v\n", n)
		return 1
	}
	for _, note := range top.Notes {
		if strings.Contains(note.Text, "run as root") {
			return 0
		}
	}
	fmt.Println("no note says what is missing:", top.Notes)
	return 1
}

func TestScanSurvivesWhatVanishes(t *testing.T) {
	needRoot(t)
	host := newNetns(t)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("nl-T-%d-gone-%d", os.Getpid(), i)
			for _, args := range [][]string{
				{"netns", "add", name},
				{"link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", "x", "netns", host},
				{"-n", host, "link", "set", "x", "name", "y"},
				{"-n", host, "link", "del", "y"},
				{"netns", "del", name},
			} {
				if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
					t.Errorf("ip %v: %v: %s", args, err, out)
				}
			}
		}
	}()
	for range 40 {
		scanFrom(t, host)
	}
	close(stop)
	<-done
}

func TestScanLeavesNothingOpen(t *testing.T) {
	needRoot(t)
	newNetns(t)
	if _, err := Scan(t.Context(), Options{NoEngine: true}); err != nil {
		t.Fatal(err)
	}
	descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
	for range 3 {
		if _, err := Scan(t.Context(), Options{NoEngine: true}); err != nil {
			t.Fatal(err)
		}
	}
	expectLike(t, descriptors, goroutines)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// expectLike waits until there are no more descriptors and goroutines than
// there were: a thread's end is not synchronous.
func expectLike(t *testing.T, descriptors, goroutines int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if openDescriptors(t) <= descriptors && runtime.NumGoroutine() <= goroutines {
			return
		}
	}
	stacks := make([]byte, 1<<16)
	t.Errorf("%d descriptors and %d goroutines, before %d and %d\n%s", openDescriptors(t), runtime.NumGoroutine(),
		descriptors, goroutines, stacks[:runtime.Stack(stacks, true)])
}
