package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestFileStandsAlone writes a watch to a file and reads it as an ordinary user:
// the same journeys, word for word, and every packet whole.
func TestFileStandsAlone(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	back := e.Namespace("back")
	file := filepath.Join(t.TempDir(), "back.pcapng")
	w := startWatch(t, e, "-w", file, "--json")
	for i, size := range []int{56, 1200, 4000} {
		if _, err := lab.Ping(context.Background(), back, internet, lab.Echo{ID: 9, Seq: uint16(i), Payload: make([]byte, size)}); err != nil {
			t.Error(err)
		}
	}
	if _, err := lab.Get(context.Background(), e.Internet(), netip.AddrPortFrom(hostAddress, 8000)); err != nil {
		t.Error(err)
	}
	sameFromFile(t, w, file, 10)

	tshark := exec.CommandContext(t.Context(), "tshark", "-r", file, "-T", "fields", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment")
	packets, err := tshark.Output()
	if err != nil {
		t.Fatal(err)
	}
	comments := 0
	for line := range strings.Lines(string(packets)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 3 || f[0] != f[1] {
			t.Errorf("a packet is cut: %q", line)
		}
		if strings.Contains(line, "MASQUERADE, conntrack") {
			comments++
		}
	}
	if comments == 0 {
		t.Error("no comment tells of the masquerade")
	}
}

// sameFromFile ends a watch that wrote a file, and reads that as an ordinary user:
// the same journeys, word for word.
func sameFromFile(t *testing.T, w *watch, file string, least int) []journey {
	t.Helper()
	time.Sleep(500 * time.Millisecond)
	w.end()

	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for folder := filepath.Dir(file); strings.HasPrefix(folder, os.TempDir()+"/"); folder = filepath.Dir(folder) {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	read := exec.CommandContext(t.Context(), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", natlens, "read", "--json", file)
	var complaint strings.Builder
	read.Stderr = &complaint
	out, err := read.Output()
	if err != nil {
		t.Fatalf("natlens read: %v: %s", err, complaint.String())
	}
	live, again := journeysOf(w.stdout.String()), journeysOf(string(out))
	if len(live) < least || len(live) != len(again) {
		t.Fatalf("%d journeys live, %d from the file", len(live), len(again))
	}
	for i := range live {
		if live[i] != again[i] {
			t.Errorf("journey %d\nlive %s\nfile %s", i, live[i], again[i])
		}
	}
	var all []journey
	for _, line := range again {
		var j journey
		decode(t, []byte(line), &j)
		all = append(all, j)
	}
	return all
}

// TestFileTellsOfEverything is the same with what takes more than packets and flows
// to tell: a process between two connections, drops, refusals, IPv6, and what rules
// did to each packet.
func TestFileTellsOfEverything(t *testing.T) {
	e := engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables")
	e.Network("apart")
	e.Run("--name", "back", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	e.Run("--name", "other", "--network", "apart", "box", "sleep", "1000000")
	apart := e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.apart.IPAddress}}", "other")
	six := netip.MustParseAddr(strings.TrimSpace(e.Docker("inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}", "back")))
	await(t, 30*time.Second, "IPv6 to be sure of its addresses", func() bool {
		_, err := lab.Get(t.Context(), e.Host(), netip.AddrPortFrom(six, 8000))
		return err == nil
	})
	for _, traced := range []bool{false, true} {
		t.Run(fmt.Sprintf("trace %v", traced), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "all.pcapng")
			args := []string{"-w", file, "--json"}
			if traced {
				args = append(args, "--trace")
			}
			w := startWatch(t, e, args...)
			for name, try := range map[string]func(context.Context) error{
				"docker-proxy": func(ctx context.Context) error {
					_, err := lab.Get(ctx, e.Host(), netip.MustParseAddrPort("127.0.0.1:8000"))
					return err
				},
				"published": func(ctx context.Context) error {
					_, err := lab.Get(ctx, e.Internet(), netip.AddrPortFrom(hostAddress, 8000))
					return err
				},
				"hairpin": func(ctx context.Context) error {
					_, err := lab.Get(ctx, e.Namespace("back"), netip.AddrPortFrom(hostAddress, 8000))
					return err
				},
				"IPv6": func(ctx context.Context) error {
					_, err := lab.Get(ctx, e.Host(), netip.AddrPortFrom(six, 8000))
					return err
				},
				"fragments": func(ctx context.Context) error {
					_, err := lab.Ping(ctx, e.Namespace("back"), internet, lab.Echo{ID: 9, Seq: 1, Payload: make([]byte, 4000)})
					return err
				},
			} {
				if err := try(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			for _, to := range []string{strings.TrimSpace(apart) + ":80", internet.String() + ":9"} { // dropped, refused
				ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
				if _, err := lab.Get(ctx, e.Namespace("back"), netip.MustParseAddrPort(to)); err == nil {
					t.Errorf("%s answers", to)
				}
				stop()
			}
			time.Sleep(4 * time.Second) // what is dropped is settled after 3.5 s
			seen := map[string]bool{}
			for _, j := range sameFromFile(t, w, file, 30) {
				seen[j.Verdict.Result] = true
				for _, r := range j.Related {
					seen[r.Why] = true
				}
				for _, h := range j.Hops {
					seen["pieces"] = seen["pieces"] || h.Part != nil
					seen["IPv6"] = seen["IPv6"] || strings.Contains(h.Source.IP, ":")
				}
				for _, tr := range j.Translations {
					seen["rule"] = seen["rule"] || tr.Rule != nil
				}
				seen["evidence "+j.Verdict.Evidence] = true
			}
			want := []string{"dropped", "proxied_as", "pieces", "IPv6", "rule", "reply_to"}
			if traced {
				want = append(want, "evidence trace")
			}
			for _, w := range want {
				if !seen[w] {
					t.Errorf("no journey shows %q, only %v: the test shows less than it should", w, seen)
				}
			}
		})
	}
}

// journeysOf keeps the lines that are journeys.
func journeysOf(lines string) (journeys []string) {
	for line := range strings.Lines(lines) {
		if strings.Contains(line, `"kind":"journey"`) {
			journeys = append(journeys, line)
		}
	}
	return journeys
}
