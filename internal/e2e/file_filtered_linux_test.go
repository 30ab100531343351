package e2e

import (
	"context"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// TestFilteredFileReadsTheSame writes what filters pick, and reads what was shown with
// them: what is said of a packet rests on others that the filter does not pick.
func TestFilteredFileReadsTheSame(t *testing.T) {
	e := engine.Start(t)
	e.Network("apart")
	e.Run("--name", "back", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	e.Run("--name", "other", "--network", "apart", "box", "sleep", "1000000")
	apart := strings.TrimSpace(e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.apart.IPAddress}}", "other"))
	address := strings.TrimSpace(e.Docker("inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "back"))
	folder := t.TempDir()
	const traced = "container back and not port 1"
	filters := map[string]string{ // by what a journey that it picks shows
		"container back":                       `"why":"proxied_as"`,
		"src container back":                   `"why":"reply_to"`,
		"dst container back":                   `"why":"proxied_as"`,
		"dst host " + internet.String():        `time to live exceeded, says 172.17.0.1 (#`,
		"src host " + address:                  `"why":"reply_to"`,
		"verdict dropped":                      `"result":"dropped"`,
		"nat masquerade":                       `"kind":"masquerade"`,
		"tcp and dst port 8000":                `"why":"proxied_as"`,
		"not src host " + hostAddress.String(): `"why":"reply_to"`,
	}
	filters[traced] = `"evidence":"trace"`
	watches := map[string]*watch{}
	for filter := range filters {
		args := []string{"-w", filepath.Join(folder, filter), "--json"}
		if filter == traced {
			args = append(args, "--trace")
		}
		watches[filter] = startWatch(t, e, append(args, filter)...)
	}
	time.Sleep(1500 * time.Millisecond) // until rules were counted once
	for n := range 4 {
		for _, get := range []struct {
			from *netns.Handle
			to   string
		}{
			{e.Host(), "127.0.0.1:8000"}, {e.Internet(), hostAddress.String() + ":8000"},
			{e.Namespace("back"), hostAddress.String() + ":8000"}, {e.Host(), address + ":8000"},
		} {
			if _, err := lab.Get(t.Context(), get.from, netip.MustParseAddrPort(get.to)); err != nil {
				t.Errorf("%s: %v", get.to, err)
			}
		}
		_ = e.CommandIn("back", "ping", "-c", "1", "-W", "1", "-t", "1", internet.String()).Run() // nobody answers
		if _, err := lab.Ping(t.Context(), e.Namespace("back"), internet, lab.Echo{ID: 9, Seq: uint16(n), Payload: make([]byte, 1000*n)}); err != nil {
			t.Error(err)
		}
		for _, to := range []string{apart + ":80", internet.String() + ":9", "172.17.0.99:80"} { // dropped, refused, nobody there
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			if _, err := lab.Get(ctx, e.Namespace("back"), netip.MustParseAddrPort(to)); err == nil {
				t.Errorf("%s answers", to)
			}
			stop()
		}
	}
	time.Sleep(4 * time.Second) // what is dropped is settled after 3.5 s
	for filter, shows := range filters {
		t.Run(filter, func(t *testing.T) {
			sameFromFile(t, watches[filter], filepath.Join(folder, filter), 1)
			if !strings.Contains(watches[filter].stdout.String(), shows) {
				t.Errorf("no journey shows %s: the test shows less than it should", shows)
			}
			// The file knows the name that stands for an address here.
			if out, err := exec.Command(natlens, "read", "-q", filepath.Join(folder, filter), "host", "back").Output(); err != nil || len(out) == 0 {
				t.Errorf("natlens read FILE host back: %v", err)
			}
		})
	}
}
