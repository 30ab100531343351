package podman

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseBundle(t *testing.T) {
	for text, want := range map[string]way{
		`{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/netns-1"}]}}`: {mode: "private", path: "/run/netns/netns-1"},
		`{"linux":{"namespaces":[{"type":"network"},{"type":"ipc"}]}}`:                             {mode: "none"},
		`{"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"}]}}`:                                 {mode: "host"},
		`{"linux":{}}`: {mode: "host"},
		`{"linux":{"namespaces":[{"type":"network","path":"/proc/4711/ns/net"}]}}`: {mode: "joined", path: "/proc/4711/ns/net", pid: 4711},
	} {
		if got, ok := parseBundle([]byte(text)); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "null", "{}", `{"linux":7}`, `{"linux":{"namespaces":[{"type":"network","path":"/proc/self/ns/net"}]}}`} {
		if got, ok := parseBundle([]byte(text)); ok {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestParseImages(t *testing.T) {
	got := parseImages([]byte(`[{"id":"a","names":["web"],"metadata":"{\"image-name\":\"localhost/box:latest\",\"name\":\"web\"}"},
		{"id":"b","metadata":"{}"},{"id":"c","metadata":"no JSON"},{"id":"d"}]`))
	if diff := cmp.Diff(map[string]string{"a": "localhost/box:latest"}, got); diff != "" {
		t.Error(diff)
	}
	if got := parseImages([]byte("[")); len(got) != 0 {
		t.Errorf("%v of half a file", got)
	}
}

func FuzzParseFiles(f *testing.F) {
	f.Add([]byte(`{"linux":{"namespaces":[{"type":"network","path":"/proc/1/ns/net"}]},"name":"n","id":"i","subnets":[{"subnet":"10.0.0.0/8"}]}`))
	f.Add([]byte(`[{"id":"a","metadata":"{}"}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		parseBundle(text)
		parseImages(text)
		if n, ok := parseNetwork(text); ok && (n.Name == "" || n.ID == "") {
			t.Errorf("a network without a name: %+v", n)
		}
	})
}
