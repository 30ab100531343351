package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestRootlessNetwork lays down what Podman and Docker do without root: a user's own
// namespaces, and slirp4netns between them and the host. natlens says what can't be
// seen from the host, and sees it from inside.
func TestRootlessNetwork(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun")
	}
	e := engine.Shared(t)
	inside := start(t, e.Command("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
		"unshare", "--user", "--map-root-user", "--net", "sleep", "1000"))
	namespace := fmt.Sprintf("/proc/%d/ns/net", inside)
	await(t, 20*time.Second, "a namespace of the user's own", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", inside))
		return err == nil && string(name) == "sleep\n"
	})
	in := func(name string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=" + namespace, name}, args...)...)
	}
	carrier := start(t, e.Command("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", fmt.Sprint(inside), "tap0"))
	await(t, 20*time.Second, "slirp4netns to make tap0", func() bool {
		out, err := in("ip", "-4", "addr", "show", "tap0").Output()
		return err == nil && strings.Contains(string(out), "inet ")
	})

	sentence := fmt.Sprintf("slirp4netns, process %d of user 0, carries what sleep", carrier)
	_, said, status := finish(t, e.Command(natlens, "list"))
	same(t, "status of list", status, 0)
	says(t, "list", said, sentence, "by tap0", "no link and no NAT rule joins the two sides", fmt.Sprintf("sudo nsenter -t %d -n natlens watch", inside))
	says(t, "doctor", tell(t, e, "doctor"), sentence)

	out, said, status := finish(t, in(natlens, "list"))
	if status != 0 {
		t.Fatalf("list inside: status %d: %s", status, said)
	}
	says(t, "list inside", out, "tap0 uplink", "10.0.2.100/24")
	// On the host it is a connection of the host's own.
	w := startWatch(t, e, "--json", "tcp")
	server, err := lab.ServeHTTP(e.Internet(), netip.AddrPortFrom(internet, 8000), "hello")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if out, err := in("curl", "-sS", "-m", "10", "http://"+internet.String()+":8000/").CombinedOutput(); err != nil {
		t.Fatalf("curl inside: %v: %s", err, out)
	}
	w.awaitJourneys(4)
	all, _ := w.journeys()
	syn := only(t, "SYN", with(all, func(j *journey) bool { return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" }))
	same(t, "who asks", syn.From.Name+" "+syn.From.IP, "host "+hostAddress.String())
	same(t, "hops", shape(syn), "host:eth0 out")
	same(t, "translations", len(syn.Translations), 0)
}

// start runs a program until the test ends, and returns its process.
func start(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
