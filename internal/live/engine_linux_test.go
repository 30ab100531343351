package live

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/netinfo/docker"
	"natlens/trace"
)

// engine answers as an engine without containers does, or not at all.
type engine struct {
	t      *testing.T
	socket string
	server *http.Server
	done   chan struct{}
}

var versionPrefix = regexp.MustCompile(`^/v1\.\d+`)

// startEngine listens at socket until stop; a silent one accepts and never
// answers.
func startEngine(t *testing.T, socket string, silent bool) *engine {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, socket: socket, done: make(chan struct{})}
	answers := map[string]any{
		"/_ping":           "OK",
		"/version":         map[string]any{"Version": "29.0.0", "ApiVersion": "1.52", "MinAPIVersion": "1.40", "Os": "linux"},
		"/info":            map[string]any{"OSType": "linux", "Name": "vm", "OperatingSystem": "Debian GNU/Linux 12 (bookworm)"},
		"/networks":        []any{},
		"/containers/json": []any{},
	}
	e.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[versionPrefix.ReplaceAllString(r.URL.Path, "")]
		if silent || !known { // events never come
			if !silent {
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			return
		}
		w.Header().Set("API-Version", "1.52")
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // a client that hung up
	})}
	go func() {
		defer close(e.done)
		_ = e.server.Serve(l) // ends with ErrServerClosed
	}()
	t.Cleanup(e.stop)
	return e
}

func (e *engine) stop() {
	_ = e.server.Close()
	<-e.done
}

func (e *engine) options() netinfo.Options { return netinfo.Options{EngineHost: "unix://" + e.socket} }

// addLink makes a link on the host and waits until the watch says so.
func addLink(t *testing.T, w *watch, name string) {
	t.Helper()
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(link); err != nil {
			t.Error(err)
		}
	})
	w.until("word of link "+name, func() bool {
		for _, c := range w.changes {
			if c.Kind == "link" && c.Action == "came" && c.Name == name {
				return true
			}
		}
		return false
	})
}

func TestEngineThatNeverAnswers(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	e := startEngine(t, filepath.Join(t.TempDir(), "docker.sock"), true)
	began := time.Now()
	w := startWatch(t, Config{Host: e.options()})
	if d := time.Since(began); d > liveness/2 {
		t.Errorf("it took %v to start", d)
	}
	noted := false
	for _, n := range w.session.Topology().Notes {
		noted = noted || n.About == "engine" && strings.Contains(n.Text, docker.ErrSlow.Error())
	}
	if !noted {
		t.Errorf("no word of it in %v", w.session.Topology().Notes)
	}
	// Containers are found by their bridge meanwhile.
	pinger(t, h.Find("back").Namespace(), 5)
	w.journey("a ping", whole("back", h.Find("back").HostLink))
	addLink(t, w, "nlbridge0")
}

func TestEngineThatRestarts(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	e := startEngine(t, filepath.Join(t.TempDir(), "docker.sock"), false)
	w := startWatch(t, Config{Host: e.options()})
	if w.session.Topology().Engine == nil {
		t.Fatalf("no engine in the first topology: %v", w.session.Topology().Notes)
	}
	e.stop()
	w.until("word that the engine is gone", func() bool {
		for _, s := range w.warnings {
			if strings.HasPrefix(s, "engine: ") {
				return true
			}
		}
		return false
	})
	addLink(t, w, "nlbridge1")
	again := startEngine(t, e.socket, false)
	addLink(t, w, "nlbridge2")
	again.stop()
	pinger(t, h.Find("back").Namespace(), 6)
	// back is no container of this engine, so that only the host sees it.
	w.journey("a ping", func(j *trace.Journey) bool { return j.Verdict.Result == trace.Left && len(j.Translations) == 1 })
}
