package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestFilesOfTwoHosts reads what natlens wrote on two hosts, with and without what
// tcpdump saw between. What tshark finds to be one packet must be one journey, and
// one journey one packet.
func TestFilesOfTwoHosts(t *testing.T) {
	m := newMachines(t)
	one, two, router := m.watchAll(func() { crossing(t, m) })
	for _, files := range [][]string{{one, two}, {two, one}, {one, router, two}, {router, one}} {
		var names []string
		for _, f := range files {
			names = append(names, baseOf(f))
		}
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			journeys, said := readAll(t, files...)
			if strings.Contains(said, "clock") {
				t.Errorf("one clock is two: %s", said)
			}
			checkOnePacketEach(t, journeys, files)
			for _, j := range crossed(t, journeys) {
				for _, tr := range j.Translations {
					if tr.Evidence != "conntrack" {
						t.Errorf("journey %d: nobody between translates, yet %+v", j.ID, tr)
					}
				}
			}
		})
	}
	t.Run("clocks", func(t *testing.T) {
		for _, ahead := range []time.Duration{time.Hour, -40 * time.Millisecond} {
			files := []string{one, setClock(t, two, ahead)}
			journeys, said := readAll(t, files...)
			which, by := "ahead of", ahead
			if ahead < 0 {
				which, by = "behind", -ahead
			}
			if want := regexp.MustCompile("the clock of two-set is .* " + which + " that of one, give or take .*: [0-9]+ packets"); !want.MatchString(said) {
				t.Errorf("%v: natlens says %q", by, said)
			}
			checkOnePacketEach(t, journeys, files)
			for _, j := range crossed(t, journeys) {
				for _, h := range j.Hops {
					set := time.Duration(h.Clock)
					if placeOf(&j.Hops[0]) != "one" {
						set = -set
					}
					if placeOf(&h) == placeOf(&j.Hops[0]) && set != 0 || placeOf(&h) != placeOf(&j.Hops[0]) && (set-ahead).Abs() > 10*time.Millisecond {
						t.Errorf("journey %d: the clock at %s is said to be %v ahead, want %v", j.ID, placeOf(&h), set, ahead)
					}
				}
			}
		}
	})
}

// TestFilesAroundARouterThatTranslates is the same where a router between changes
// addresses, of which no file tells.
func TestFilesAroundARouterThatTranslates(t *testing.T) {
	m := newMachines(t)
	m.in("router", "nft", `add table ip nat
		add chain ip nat post { type nat hook postrouting priority srcnat; }
		add rule ip nat post oifname two masquerade`)
	one, two, router := m.watchAll(func() { crossing(t, m) })
	for _, files := range [][]string{{one, two}, {one, router, two}} {
		journeys, _ := readAll(t, files...)
		checkOnePacketEach(t, journeys, files)
		for _, j := range crossed(t, journeys) {
			inferred := 0
			for _, tr := range j.Translations {
				if tr.Evidence == "inferred" {
					inferred++
					if tr.Kind != "snat" || tr.Undo != (placeOf(&j.Hops[0]) == "two") || tr.Rule != nil || tr.ConntrackID != 0 {
						t.Errorf("journey %d: %+v", j.ID, tr)
					}
				}
			}
			if inferred != 1 {
				t.Errorf("journey %d: %d translations are inferred, want that of the router", j.ID, inferred)
			}
		}
	}
}

// TestFileOfAHairpin reads what tcpdump saw of a container that calls a published
// port of its network without docker-proxy. Where it is its own, both addresses change
// at once.
func TestFileOfAHairpin(t *testing.T) {
	e := engine.Start(t, "--userland-proxy=false")
	_, published := hairpinHost(t, e)
	for _, from := range []string{"front", "back"} {
		t.Run(from, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "router.pcap")
			end := capture(t, e.Command("tcpdump", "-Z", "root", "-i", "any", "-n", "-U", "-B", "16384", "-w", file, "tcp"), "listening on")
			for range 5 {
				c, err := lab.DialTCP(t.Context(), e.Namespace(from), netip.AddrPort{}, published)
				if err == nil {
					_, err = lab.Exchange(t.Context(), c, []byte("hello"))
				}
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close() // all was said
			}
			time.Sleep(1500 * time.Millisecond) // libpcap waits a second for more
			end()
			journeys, _ := readAll(t, file)
			checkOnePacketEach(t, journeys, []string{file})
			both := 0
			for _, j := range journeys {
				for _, tr := range j.Translations {
					if tr.Evidence != "inferred" {
						t.Errorf("journey %d: %+v", j.ID, tr)
					}
				}
				if len(j.Translations) == 2 {
					both++
				}
			}
			// Docker masquerades only what a container sends to itself.
			if want := from == "back"; (both > 20) != want || both > 0 != want {
				t.Errorf("%d of %d journeys change both addresses", both, len(journeys))
			}
		})
	}
}

// TestFilesOfWiresharksPrograms reads what dumpcap and tshark write: of all links,
// and of two as two interfaces of one file.
func TestFilesOfWiresharksPrograms(t *testing.T) {
	m := newMachines(t)
	programs := map[string][]string{
		"dumpcap of all links": {"dumpcap", "-q", "-i", "any"},
		"tshark of all links":  {"tshark", "-Q", "-i", "any"},
		"dumpcap of two links": {"dumpcap", "-q", "-i", "veth0", "-i", "eth0"},
		"dumpcap as pcap":      {"dumpcap", "-q", "-P", "-i", "any"},
	}
	files := map[string]string{}
	var ends []func()
	for name, args := range programs {
		files[name] = filepath.Join(t.TempDir(), "router.pcapng")
		cmd := m.command("one", append(args, "-B", "16", "-w", files[name])...)
		ready := "File:"
		if args[0] == "tshark" {
			ready = ""
		}
		ends = append(ends, capture(t, cmd, ready))
		await(t, 20*time.Second, name, func() bool { // it writes a header when it captures
			info, err := os.Stat(files[name])
			return err == nil && info.Size() > 0
		})
	}
	crossing(t, m)
	for name, file := range files {
		await(t, 30*time.Second, name+" to write the last packets", func() bool {
			written, err := os.ReadFile(file)
			return err == nil && bytes.Count(written, []byte(lastWords)) >= 4
		})
	}
	time.Sleep(time.Second)
	for _, end := range ends {
		end()
	}
	for name, file := range files {
		t.Run(name, func(t *testing.T) {
			journeys, said := readAll(t, file)
			if strings.Contains(said, "left out") || strings.Contains(said, "broken") {
				t.Errorf("natlens says %q", said)
			}
			checkOnePacketEach(t, journeys, []string{file})
			inferred := 0
			for _, j := range journeys {
				inferred += len(j.Translations)
			}
			if inferred < 20 {
				t.Errorf("%d translations inferred", inferred)
			}
		})
	}
}

// crossed returns the journeys that two hosts saw.
func crossed(t *testing.T, journeys []journey) (both []journey) {
	t.Helper()
	for _, j := range journeys {
		if n := len(j.Hops); n > 0 && placeOf(&j.Hops[0]) != placeOf(&j.Hops[n-1]) {
			both = append(both, j)
		}
	}
	if len(both) < 20 {
		t.Errorf("%d journeys of two hosts, want 20 and more", len(both))
	}
	return both
}

// checkOnePacketEach holds journeys against what tshark says of the files.
func checkOnePacketEach(t *testing.T, journeys []journey, files []string) {
	t.Helper()
	packetsAt, size := map[string][]string{}, map[string]int{}
	for _, f := range files {
		for _, f := range framesOf(t, f) {
			packetsAt[f.at] = append(packetsAt[f.at], f.packet) // two packets can have one stamp
			size[f.packet]++
		}
	}
	if len(size) < 20 {
		t.Fatalf("tshark finds %d packets", len(size))
	}
	for i := range journeys {
		j := &journeys[i]
		if j.Protocol == "2" {
			continue // IGMP, which a host may send twice alike
		}
		var identities []string // what all its hops can be
		for k, h := range j.Hops {
			these := packetsAt[fmt.Sprintf("%s %d.%09d", placeOf(&h), h.Time.Unix(), h.Time.Nanosecond())]
			if k == 0 {
				identities = slices.Clone(these)
			}
			identities = slices.DeleteFunc(identities, func(packet string) bool { return !slices.Contains(these, packet) })
		}
		if slices.Sort(identities); len(slices.Compact(identities)) != 1 {
			t.Errorf("journey %d: %s: of %d packets", j.ID, j.Path(), len(identities))
			continue
		}
		if size[identities[0]] -= len(j.Hops); size[identities[0]] != 0 {
			t.Errorf("journey %d: %s: %d hops; %d sightings too few", j.ID, j.Path(), len(j.Hops), size[identities[0]])
		}
	}
	for identity, left := range size {
		if left != 0 {
			t.Errorf("packet %s: %d sightings in no journey", identity, left)
		}
	}
}

// frame says when a file shows a packet.
type frame struct{ at, packet string }

func framesOf(t *testing.T, path string) (frames []frame) {
	t.Helper()
	fields := []string{"frame.time_epoch", "ip.flags.mf", "ip.frag_offset", "ip.proto", "ip.id", "icmp.type", "icmp.seq", "udp.length",
		"tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.len"}
	args := []string{"-r", path, "-n", "-Y", "ip and not igmp", "-T", "fields", "-E", "occurrence=f", "-o", "ip.defragment:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		identity := strings.Join(f[3:], " ")
		if f[3] == "17" && f[4] != "0x0000" || f[1] == "1" || f[2] != "0" {
			identity = "datagram " + f[4] // whole here, in fragments there
		}
		frames = append(frames, frame{baseOf(path) + " " + f[0], identity})
	}
	return frames
}

func baseOf(path string) string { return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) }

// placeOf is the file that a hop is from: natlens calls hosts by their files here,
// since all run on one machine and so have one name.
func placeOf(h *oracletest.Hop) string {
	switch {
	case h.Host != "":
		return h.Host
	case h.Namespace == "router":
		return h.Namespace
	}
	return "one" // alone it needs no name
}

// crossing sends between the hosts' containers: datagrams, one of them in
// fragments, a connection, pings.
func crossing(t *testing.T, m *machines) {
	server := netip.MustParseAddrPort("203.0.113.10:8000")
	echo, err := lab.EchoUDP(m.spaces["two-back"], netip.MustParseAddrPort("172.17.0.2:8000"))
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	web, err := lab.ServeHTTP(m.spaces["two-back"], netip.MustParseAddrPort("172.17.0.2:8000"), "hello")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	c, err := lab.DialUDP(m.spaces["one-back"], netip.AddrPort{}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 5 {
		if _, err := lab.Exchange(t.Context(), c, fmt.Appendf(nil, "datagram %d", n)); err != nil {
			t.Error(err)
		}
	}
	if _, err := lab.Exchange(t.Context(), c, bytes.Repeat([]byte("large "), 700)); err != nil {
		t.Error(err)
	}
	if _, err := lab.Get(t.Context(), m.spaces["one-back"], server); err != nil {
		t.Error(err)
	}
	for seq := range uint16(3) {
		if _, err := lab.Ping(t.Context(), m.spaces["one-back"], server.Addr(), lab.Echo{ID: 77, Seq: seq, Payload: make([]byte, 56)}); err != nil {
			t.Error(err)
		}
	}
	if _, err := lab.Exchange(t.Context(), c, []byte(lastWords)); err != nil {
		t.Error(err)
	}
}
