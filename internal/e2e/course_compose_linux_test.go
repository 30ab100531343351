package e2e

import (
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// A project of Docker Compose is containers with labels and a network with the names
// of services. They are shown by the names that Compose gives, and found by service.
func TestCourseComposeProject(t *testing.T) {
	e := engine.Shared(t)
	e.Network("--subnet", "172.28.5.0/24", "--label", "com.docker.compose.project=shop", "shop_default")
	for _, service := range []string{"web", "database"} {
		e.Run("--name", "shop-"+service+"-1", "--network", "shop_default", "--network-alias", service,
			"--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service="+service, "box")
	}
	e.Run("--name", "stranger", "box")
	database := ipOf(t, e, "shop-database-1", "shop_default")
	says(t, "explain web", tell(t, e, "explain", "web"), "shop-web-1: a container of box", "service web of the compose project shop")
	says(t, "explain shop/database", tell(t, e, "explain", "shop/database"), "shop-database-1: a container of box")
	out := tell(t, e, "list", "--json")
	if !strings.Contains(out, `"project":"shop","service":"database"`) {
		t.Errorf("list --json does not tell project and service: %s", out)
	}
	line, _, status := probe(t, e, "web", "database")
	same(t, "probe by services", line.Result, "reached")
	same(t, "status", status, 0)
	same(t, "address", line.Address, database.String())

	w, chosen := startWatch(t, e, "--json", "icmp"), startWatch(t, e, "--json", "--container", "shop/web", "icmp")
	e.Docker("exec", "shop-web-1", "ping", "-c", "1", "-W", "2", "database")
	(&load{t: t, e: e}).pings(e.Namespace("stranger"), internet, 3060, 1)
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	request := only(t, "request", with(all, func(j *journey) bool { return j.Hops[0].ICMP.Type == 8 && j.Hops[0].ICMP.ID != 3060 }))
	same(t, "from and to", request.From.Name+" > "+request.To.Name, "shop-web-1 > shop-database-1")
	picked, _ := chosen.journeys()
	same(t, "journeys of the service", len(picked), 2)
}

// A container in another one's namespace has its links and its addresses; packets are
// of both, and localhost leads from one to the other.
func TestCourseJoinedNamespace(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "web", "-p", "8050:80", "box", "httpd", "-f", "-p", "80", "-h", "/www")
	e.Run("--name", "sidecar", "--network", "container:web", "box")
	l := list(t, e)
	c := checkContainer(t, e, l, "web")
	same(t, "namespace of sidecar", l.container(t, "sidecar").NamespaceInode, c.NamespaceInode)
	sameJSON(t, "containers of eth0", l.link(t, "web", "eth0").Containers, []string{"web", "sidecar"})
	says(t, "list containers", tell(t, e, "list", "containers"), "sidecar box container:web")
	says(t, "explain", tell(t, e, "explain", "sidecar"), "web", vethOf(t, e, "web", "eth0"), "8050")
	await(t, 5*time.Second, "httpd", func() bool {
		return e.Command("docker", "exec", "sidecar", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/test").Run() == nil
	})

	w := startWatch(t, e, "--json", "tcp", "or", "icmp")
	e.Docker("exec", "sidecar", "ping", "-c", "1", "-W", "2", internet.String())
	e.Docker("exec", "sidecar", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/test")
	fetched(t, e.CommandOutside("curl", "-sS", "-m", "5", "http://"+hostAddress.String()+":8050/test"))
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	both := []string{"web", "sidecar"}
	ping := only(t, "ping", with(all, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 }))
	sameJSON(t, "who pinged", ping.From.Containers, both)
	inside := only(t, "SYN inside", with(all, func(j *journey) bool {
		return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" && j.Hops[0].Interface == "lo"
	}))
	same(t, "its way", inside.Path(), "web:lo out 127.0.0.1 > 127.0.0.1\nweb:lo in 127.0.0.1 > 127.0.0.1")
	outside := only(t, "SYN from outside", with(all, func(j *journey) bool {
		return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" && j.Hops[0].Interface == "eth0" && j.Hops[0].Namespace == "host"
	}))
	sameJSON(t, "who got it", outside.To.Containers, both)
}
