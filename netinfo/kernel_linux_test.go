package netinfo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"natlens/netinfo/netns"
)

// needRoot skips a test that makes namespaces.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip of iproute2")
	}
}

var namespaceCount atomic.Int32

// newNetns makes a namespace under a name that no other test or process uses.
func newNetns(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("nl-T-%d-%d", os.Getpid(), namespaceCount.Add(1))
	ip(t, "netns", "add", name)
	t.Cleanup(func() {
		// The test may have deleted it already.
		_ = exec.Command("ip", "netns", "del", name).Run()
	})
	return name
}

// ip runs ip(8) and returns what it printed.
func ip(t *testing.T, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	c := exec.Command("ip", args...)
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// ipJSON runs ip(8) and decodes its JSON.
func ipJSON[T any](t *testing.T, args ...string) []T {
	t.Helper()
	out := bytes.TrimSpace(ip(t, args...))
	if len(out) == 0 {
		return nil
	}
	var v []T
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("ip %s: %v", strings.Join(args, " "), err)
	}
	return v
}

// idOf returns the identity of a namespace that ip netns made.
func idOf(t *testing.T, name string) netns.ID {
	t.Helper()
	h, err := netns.Open("/run/netns/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	return h.ID()
}

// scanFrom scans as if natlens ran in the namespace with that name.
func scanFrom(t *testing.T, name string) *Topology {
	t.Helper()
	s, err := newScanner()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.self = idOf(t, name)
	top, err := s.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// connect makes a veth pair between two namespaces.
func connect(t *testing.T, a, linkA, b, linkB string) {
	t.Helper()
	ip(t, "link", "add", linkA, "netns", a, "type", "veth", "peer", "name", linkB, "netns", b)
	ip(t, "-n", a, "link", "set", linkA, "up")
	ip(t, "-n", b, "link", "set", linkB, "up")
}
