package netinfo

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/netinfo/netns"
)

func changeLines(changes []Change) []string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s in %s: %s", c.Kind, c.Action, c.Name, c.NamespaceName, c.Detail)))
	}
	return lines
}

func TestDiff(t *testing.T) {
	old := assemble(dockerHost(), time.Time{})
	if changes := Diff(old, assemble(dockerHost(), time.Time{})); len(changes) != 0 {
		t.Errorf("a host differs from itself: %v", changes)
	}
	f := dockerHost()
	// web ends with its veth; db gets another address and name; the uplink
	// loses its carrier.
	f.namespaces = slices.DeleteFunc(f.namespaces, func(n *namespaceFacts) bool { return n.id == webNS })
	host := f.namespaces[0]
	host.links = slices.DeleteFunc(host.links, func(l linkFacts) bool { return l.Name == "vethaa" })
	host.links[1].State = "down"
	host.links[1].Name = "wan"
	f.namespaces[1].links[1].Addresses = []netip.Prefix{netip.MustParsePrefix("172.17.0.9/16")}
	f.inventory.Containers = f.inventory.Containers[:1]
	f.inventory.Containers[0].Name = "database"
	want := []string{
		"container went web in web: box",
		"container changed database in database: name db → database, namespace db → database",
		"network changed bridge in : members db web → database",
		"link went vethaa in host: veth, peer of web:eth0",
		"link went eth0 in web: veth, peer of host:vethaa",
		"link changed wan in host: name eth0 → wan, state up → down",
		"link changed vethbb in host: peer db:eth0 → database:eth0",
		"link changed eth0 in database: addresses 172.17.0.3/16 → 172.17.0.9/16",
		"link changed eth0 in inet: peer host:eth0 → host:wan",
	}
	if diff := cmp.Diff(want, changeLines(Diff(old, assemble(f, time.Time{})))); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	came := changeLines(Diff(nil, old))
	if len(came) != 2+3+7 || came[0] != "container came db in db: box" {
		t.Errorf("from nothing:\n%s", strings.Join(came, "\n"))
	}
	if went := Diff(old, nil); len(went) != len(came) {
		t.Errorf("to nothing: %d changes, want %d", len(went), len(came))
	}
}

func TestSameHost(t *testing.T) {
	base := func() *Topology { return assemble(dockerHost(), time.Now()) }
	if !sameHost(base(), base()) {
		t.Fatal("a host is not the same as itself")
	}
	if sameHost(nil, base()) {
		t.Error("nothing is the same as a host")
	}
	for name, change := range map[string]func(*hostFacts){
		"namespace": func(f *hostFacts) { f.namespaces = f.namespaces[:3] },
		"address": func(f *hostFacts) {
			f.namespaces[0].links[1].Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}
		},
		"route":     func(f *hostFacts) { f.namespaces[0].routes = []Route{{Link: 2}} },
		"container": func(f *hostFacts) { f.inventory.Containers[0].Image = "other" },
		"network":   func(f *hostFacts) { f.inventory.Networks[1].Internal = true },
		"engine":    func(f *hostFacts) { f.inventory.Engine.Version = "29" },
		"peer":      func(f *hostFacts) { f.namespaces[0].peers = map[int32]netns.ID{0: inetNS, 1: dbNS, 2: webNS} },
		"unreadable": func(f *hostFacts) {
			f.namespaces[3].unreadable = errVanished
		},
	} {
		f := dockerHost()
		change(f)
		if sameHost(base(), assemble(f, time.Now())) {
			t.Errorf("a change of %s goes unnoticed", name)
		}
	}
	f := dockerHost()
	f.namespaces[0].pids = []int{1, 5}
	if !sameHost(base(), assemble(f, time.Now())) {
		t.Error("another process is not a change")
	}
}
