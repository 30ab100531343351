package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/capture/pcapng"
	"natlens/internal/view/jsonl/jsonltest"
	"natlens/netinfo/netns"
)

// machines are two hosts with a container each and a router between them:
//
//	one-back 172.17.0.2 — one 192.0.2.10 — router — two 203.0.113.10 — two-back 172.17.0.2
//
// Both hosts masquerade what their container sends, and lead port 8000 to it. The
// containers have the same address, as Docker's have.
type machines struct {
	t      *testing.T
	prefix string
	spaces map[string]*netns.Handle
}

func newMachines(t *testing.T) *machines {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	for _, program := range []string{"ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	m := &machines{t: t, prefix: fmt.Sprintf("nl%d-", os.Getpid()), spaces: map[string]*netns.Handle{}}
	for _, name := range []string{"router", "one", "one-back", "two", "two-back"} {
		m.run("ip", "netns", "add", m.prefix+name)
		t.Cleanup(func() { m.run("ip", "netns", "del", m.prefix+name) })
		ns, err := netns.Open("/run/netns/" + m.prefix + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ns.Close() })
		m.spaces[name] = ns
		m.in(name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
		m.in(name, "ip", "link", "set", "lo", "up")
	}
	for i, name := range []string{"one", "two"} {
		address, gateway, back := []string{"192.0.2.10", "203.0.113.10"}[i], []string{"192.0.2.1", "203.0.113.1"}[i], name+"-back"
		m.run("ip", "-n", m.prefix+name, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", m.prefix+"router")
		m.run("ip", "-n", m.prefix+name, "link", "add", "br0", "type", "bridge")
		m.run("ip", "-n", m.prefix+name, "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", m.prefix+back)
		m.in(name, "ip", "link", "set", "veth0", "master", "br0")
		m.in(name, "ip", "addr", "add", address+"/24", "dev", "eth0")
		m.in(name, "ip", "addr", "add", "172.17.0.1/16", "dev", "br0")
		m.in("router", "ip", "addr", "add", gateway+"/24", "dev", name)
		m.in(back, "ip", "addr", "add", "172.17.0.2/16", "dev", "eth0")
		for space, links := range map[string][]string{name: {"eth0", "br0", "veth0"}, "router": {name}, back: {"eth0"}} {
			for _, l := range links {
				m.in(space, "ip", "link", "set", l, "up")
			}
		}
		m.in(name, "ip", "route", "add", "default", "via", gateway)
		m.in(back, "ip", "route", "add", "default", "via", "172.17.0.1")
		m.in(name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
		m.in(name, "nft", `add table ip nat
			add chain ip nat post { type nat hook postrouting priority srcnat; }
			add chain ip nat pre { type nat hook prerouting priority dstnat; }
			add rule ip nat post oifname eth0 ip saddr 172.17.0.0/16 masquerade
			add rule ip nat pre iifname eth0 meta l4proto { tcp, udp } th dport 8000 dnat to 172.17.0.2`)
	}
	m.in("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return m
}

func (m *machines) run(name string, args ...string) {
	m.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func (m *machines) command(space string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + m.prefix + space, "--"}, args...)...)
}

func (m *machines) in(space string, args ...string) {
	m.t.Helper()
	if out, err := m.command(space, args...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %s: %v: %s", space, strings.Join(args, " "), err, out)
	}
}

// capture runs a program that captures until it is told to end.
func (m *machines) capture(space, ready string, args ...string) (end func()) {
	m.t.Helper()
	return capture(m.t, m.command(space, args...), ready)
}

func capture(t *testing.T, cmd *exec.Cmd, ready string) (end func()) {
	t.Helper()
	said := &safeBuffer{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	await(t, 20*time.Second, cmd.String(), func() bool { return strings.Contains(said.String(), ready) })
	return func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Wait()); err != nil {
			t.Errorf("%v: %v: %s", cmd, err, said)
		}
	}
}

// lastWords are in the last packets that play sends, there and back.
const lastWords = "these are the last words"

// watchAll has natlens on both hosts and tcpdump on the router write files while
// play plays.
func (m *machines) watchAll(play func()) (one, two, router string) {
	m.t.Helper()
	dir := m.t.TempDir()
	one, two, router = filepath.Join(dir, "one.pcapng"), filepath.Join(dir, "two.pcapng"), filepath.Join(dir, "router.pcap")
	ends := []func(){
		m.capture("one", "Ctrl-C ends.", natlens, "watch", "-w", one),
		m.capture("two", "Ctrl-C ends.", natlens, "watch", "-w", two),
		m.capture("router", "listening on", "tcpdump", "-Z", "root", "-i", "any", "-n", "-U", "-B", "16384", "-w", router),
	}
	play()
	await(m.t, 30*time.Second, "tcpdump to write the last packets", func() bool {
		written, err := os.ReadFile(router)
		return err == nil && bytes.Count(written, []byte(lastWords)) == 4 // there and back, in and out
	})
	for _, end := range ends {
		end()
	}
	return one, two, router
}

// stamp is a time in what natlens writes, in nanoseconds.
var stamp = regexp.MustCompile(`\b1[0-9]{18}\b`)

// setClock writes a file as a host would have whose clock is ahead.
func setClock(t *testing.T, path string, ahead time.Duration) string {
	t.Helper()
	in, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapng.NewReader(bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := pcapng.NewWriter(&out, pcapng.Section{})
	for b, errRead := r.Next(); errRead == nil && err == nil; b, errRead = r.Next() {
		switch b := b.(type) {
		case *pcapng.Interface:
			_, err = w.Interface(*b)
		case *pcapng.Packet:
			b.Time += int64(ahead)
			err = w.Packet(b)
		case *pcapng.Local:
			b.Data = stamp.ReplaceAllFunc(b.Data, func(digits []byte) []byte {
				n, _ := strconv.ParseInt(string(digits), 10, 64) // it has as many digits as fit
				return strconv.AppendInt(nil, n+int64(ahead), 10)
			})
			err = w.Local(*b)
		}
	}
	set := strings.TrimSuffix(path, ".pcapng") + "-set.pcapng"
	if err := errors.Join(err, w.Flush(), os.WriteFile(set, out.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return set
}

// readAll reads files with the program.
func readAll(t *testing.T, args ...string) (journeys []journey, complaints string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), natlens, append([]string{"read", "--json"}, args...)...)
	complaint := &strings.Builder{}
	cmd.Stderr = complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("natlens read: %v: %s", err, complaint)
	}
	for _, line := range journeysOf(string(out)) {
		jsonltest.Validate(t, []byte(line))
		var j journey
		decode(t, []byte(line), &j)
		journeys = append(journeys, j)
	}
	return journeys, complaint.String()
}
