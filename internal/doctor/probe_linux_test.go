package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"natlens/netinfo/netns"
)

// TestProbe looks at the host it runs on, and compares with what other
// programs say of it.
func TestProbe(t *testing.T) {
	h := Probe(nil, nil)
	if out, err := exec.Command("uname", "-r").Output(); err == nil && strings.TrimSpace(string(out)) != h.Kernel {
		t.Errorf("kernel %q, uname says %s", h.Kernel, out)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	var bits uint64
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "CapEff:"); ok {
			if _, err := fmt.Sscanf(rest, "%x", &bits); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, bit := range map[string]int{"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21} {
		if want := bits>>bit&1 == 1; h.Effective[name] != want {
			t.Errorf("%s held: %v, /proc/self/status says %v", name, h.Effective[name], want)
		}
	}
	if h.Ring.Tried != h.Effective["CAP_NET_RAW"] || h.Flows.Tried != h.Effective["CAP_NET_ADMIN"] {
		t.Errorf("tried without or not tried with the capability: %+v", h)
	}
	if want, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil && h.Sysctls[ipForward] != strings.TrimSpace(string(want)) {
		t.Errorf("ip_forward %q, want %s", h.Sysctls[ipForward], want)
	}
}

// TestTrialsLeaveNothing tries everything in this process and looks at what is
// open and what tables there are, before and after.
func TestTrialsLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW: run as root")
	}
	Probe(nil, nil) // what the runtime opens once is open from now on
	before, tables := openFiles(t), nftTables(t)
	h := Probe(nil, nil)
	for name, trial := range map[string]Trial{"ring": h.Ring, "flows": h.Flows, "events": h.Events, "owner": h.Owner} {
		if !trial.Tried || trial.Err != nil {
			t.Errorf("%s: %+v", name, trial)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files open, %d before", after, before)
	}
	if after := nftTables(t); after != tables {
		t.Errorf("tables %q, before %q", after, tables)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

func nftTables(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "tables").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// TestTables lays tables with nft and iptables-nft into a namespace of its own.
func TestTables(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root")
	}
	for _, program := range []string{"nft", "iptables-nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("needs " + program)
		}
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var r Rules
	err = ns.Do(func() error {
		for _, command := range [][]string{
			{"nft", "add table inet mine"},
			{"nft", "add table ip filter2; add chain ip filter2 FORWARD { type filter hook forward priority 0 ; }"},
			{"nft", "add table ip6 nat; add chain ip6 nat mine { type nat hook postrouting priority 100 ; }"},
			{"iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE"},
		} {
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%v: %w: %s", command, err, out)
			}
		}
		r.readTables()
		return nil
	})
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	slices.Sort(r.NFT)
	if want := []string{"inet mine", "ip filter2", "ip6 nat"}; !slices.Equal(r.NFT, want) {
		t.Errorf("nft's tables %v, want %v", r.NFT, want)
	}
	if want := []string{"ip nat"}; !slices.Equal(r.IPTablesNFT, want) {
		t.Errorf("iptables-nft's tables %v, want %v", r.IPTablesNFT, want)
	}
}

func TestLegacy(t *testing.T) {
	dir := t.TempDir()
	var none Rules
	if none.readLegacy(dir); !none.LegacyRead || len(none.Legacy) != 0 {
		t.Errorf("without the module: %+v", none)
	}
	for file, text := range map[string]string{"ip_tables_names": "nat\nfilter\n", "ip6_tables_names": ""} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var some Rules
	if some.readLegacy(dir); !some.LegacyRead || !slices.Equal(some.Legacy, []string{"ip nat", "ip filter"}) {
		t.Errorf("%+v", some)
	}
	var broken Rules
	if err := os.Mkdir(filepath.Join(dir, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "broken", "ip_tables_names"), 0o700); err != nil {
		t.Fatal(err)
	}
	if broken.readLegacy(filepath.Join(dir, "broken")); broken.LegacyRead || broken.LegacyErr == nil {
		t.Errorf("not readable: %+v", broken)
	}
}
