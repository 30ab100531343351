package docker

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeEngine answers as an engine does, in the shapes that Docker 20.10 and
// Podman 4.3 were seen to answer in.
type fakeEngine struct {
	t      *testing.T
	path   string
	server *http.Server
	done   chan struct{}

	mu          sync.Mutex
	containers  []map[string]any // as in /containers/json
	inspections map[string]map[string]any
	networks    []map[string]any
	info        map[string]any
	version     map[string]any
	inspected   map[string]int // how often
	delay       time.Duration
	events      []chan string
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	e := &fakeEngine{
		t: t, path: filepath.Join(t.TempDir(), "docker.sock"),
		inspections: map[string]map[string]any{}, inspected: map[string]int{},
		info:    map[string]any{"OSType": "linux", "OperatingSystem": "Debian GNU/Linux 12 (bookworm)", "Name": "vm", "SecurityOptions": []string{"name=seccomp,profile=default"}},
		version: map[string]any{"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Components": []any{map[string]any{"Name": "Engine", "Version": "20.10.24+dfsg1"}}},
	}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func (e *fakeEngine) host() string { return "unix://" + e.path }

func (e *fakeEngine) start() {
	l, err := net.Listen("unix", e.path)
	if err != nil {
		e.t.Fatal(err)
	}
	e.server = &http.Server{Handler: e}
	e.done = make(chan struct{})
	go func() {
		defer close(e.done)
		_ = e.server.Serve(l) // ends with ErrServerClosed
	}()
}

func (e *fakeEngine) stop() {
	e.mu.Lock()
	for _, c := range e.events {
		close(c)
	}
	e.events = nil
	e.mu.Unlock()
	_ = e.server.Close()
	<-e.done
}

// emit sends an event, in Docker's form, to all that listen.
func (e *fakeEngine) emit(kind, action, id string, attributes map[string]string) {
	b, err := json.Marshal(map[string]any{
		"Type": kind, "Action": action, "Actor": map[string]any{"ID": id, "Attributes": attributes},
		"scope": "local", "time": 1795457195, "timeNano": 1795457195000000000,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.events {
		c <- string(b)
	}
}

// listeners returns how many streams of events are open.
func (e *fakeEngine) listeners() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.events)
}

var apiVersion = regexp.MustCompile(`^/v1\.\d+`)

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	e.mu.Lock()
	delay := e.delay
	e.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	answer := func(v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			fmt.Println("fake engine:", err)
		}
	}
	switch {
	case path == "/_ping":
		w.Header().Set("API-Version", "1.41")
		w.Header().Set("OSType", "linux")
	case path == "/version":
		answer(e.version)
	case path == "/info":
		answer(e.info)
	case path == "/networks":
		answer(e.networks)
	case path == "/containers/json":
		answer(e.containers)
	case strings.HasPrefix(path, "/containers/"):
		id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
		e.inspected[id]++
		if e.inspections[id] == nil {
			w.WriteHeader(http.StatusNotFound)
			answer(map[string]string{"message": "No such container: " + id})
			return
		}
		answer(e.inspections[id])
	case path == "/events":
		events := make(chan string, 16)
		e.events = append(e.events, events)
		e.mu.Unlock()
		defer e.mu.Lock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case line, ok := <-events:
				if !ok {
					return
				}
				fmt.Fprintln(w, line)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	default:
		w.WriteHeader(http.StatusNotFound)
		answer(map[string]string{"message": "page not found"})
	}
}

// id makes a container's id of one digit.
func id(digit string) string { return strings.Repeat(digit, 64) }

// addBridged adds a running container on the default bridge.
func (e *fakeEngine) addBridged(id, name, ip, mac string, pid int) {
	endpoint := map[string]any{
		"IPAMConfig": nil, "Links": nil, "Aliases": nil, "NetworkID": bridgeID, "EndpointID": id,
		"Gateway": "172.17.0.1", "IPAddress": ip, "IPPrefixLen": 16, "IPv6Gateway": "", "GlobalIPv6Address": "",
		"GlobalIPv6PrefixLen": 0, "MacAddress": mac, "DriverOpts": nil,
	}
	e.add(id, name, "default", pid, map[string]any{"bridge": endpoint})
}

func (e *fakeEngine) add(id, name, mode string, pid int, networks map[string]any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = append(e.containers, map[string]any{
		"Id": id, "Names": []string{"/" + name}, "Image": "box", "ImageID": "sha256:" + id, "Command": "sleep 1000000",
		"Created": 1795457195, "Ports": []any{}, "Labels": map[string]string{"com.docker.compose.service": name},
		"State": "running", "Status": "Up 3 minutes", "HostConfig": map[string]string{"NetworkMode": mode},
		"NetworkSettings": map[string]any{"Networks": networks}, "Mounts": []any{},
	})
	e.inspections[id] = map[string]any{
		"Id": id, "Name": "/" + name,
		"State":           map[string]any{"Status": "running", "Running": true, "Pid": pid},
		"HostConfig":      map[string]any{"NetworkMode": mode},
		"NetworkSettings": map[string]any{"SandboxKey": "/var/run/docker/netns/" + id[:12], "Networks": networks},
	}
}

const bridgeID = "8ea8ba6cc276dd69e231119136ac181a1f3e70133472b8c0ffa2c4c031f4ea61"
