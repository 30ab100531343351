package netinfo

import (
	"testing"
	"time"

	"natlens/netinfo/docker"
)

// A container that the engine does not list yet, or not any more, has its name by the
// cgroup of the process that its namespace was made for; so has one that it lists and
// whose links are not there yet.
func TestBindNamed(t *testing.T) {
	f := dockerHost()
	f.namespaces = append(f.namespaces, &namespaceFacts{
		id: otherNS, firstPID: 70, cgroup: "0::/system.slice/docker-" + id64("d") + ".scope\n", links: []linkFacts{loopbackFacts()},
	})
	named := docker.Named{ID: id64("d"), Name: "coming", Image: "box"}
	for what, change := range map[string]func(){
		"not listed": func() { f.named = []docker.Named{{ID: id64("e"), Name: "other"}, named} },
		"listed": func() {
			f.inventory.Containers = append(f.inventory.Containers, docker.Container{ID: id64("d"), Name: "coming", Image: "box", Mode: "bridge"})
		},
	} {
		change()
		top := assemble(f, time.Time{})
		found := top.FindContainer("coming")
		if len(found) != 1 {
			t.Fatalf("%s: %d containers", what, len(found))
		}
		c := found[0]
		if top.NamespaceName(otherNS) != "coming" || c.Namespace != otherNS || c.Proof != "cgroup of pid 70" || c.Image != "box" {
			t.Errorf("%s: %+v in %s", what, c, top.NamespaceName(otherNS))
		}
		if len(top.FindContainer("other")) != 0 {
			t.Errorf("%s: a container without a process is there", what)
		}
	}
	// What the engine doesn't know is another engine's.
	f = dockerHost()
	f.namespaces = append(f.namespaces, &namespaceFacts{id: otherNS, firstPID: 70, cgroup: "0::/docker/" + id64("d") + "\n", links: []linkFacts{loopbackFacts()}})
	if top := assemble(f, time.Time{}); top.NamespaceName(otherNS) != "docker-dddddddddddd" || len(top.Namespace(otherNS).Containers) != 0 {
		t.Errorf("an unknown container's namespace is %s", top.NamespaceName(otherNS))
	}
}
