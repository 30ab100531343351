package podman

import (
	"strings"
	"testing"
)

const web = "d8c7642fe6186ab23d6a2eeabb54cb0f1dc71d296ee101aa7e99e4a44b133307"

// commandLine is what Podman 4.3 started for a container called web.
func commandLine(change ...string) []byte {
	userdata := "/var/lib/containers/storage/overlay-containers/" + web + "/userdata"
	line := "/usr/bin/conmon --api-version 1 -c " + web + " -u " + web + " -r /usr/bin/runc -b " + userdata +
		" -p /run/containers/storage/overlay-containers/" + web + "/userdata/pidfile -n web --exit-dir /run/libpod/exits --full-attach" +
		" -l k8s-file:" + userdata + "/ctr.log --log-level warning --runtime-arg --log-format=json --runtime-arg --log" +
		" --conmon-pidfile /run/x/conmon.pid --exit-command /usr/bin/podman --exit-command-arg --root --exit-command-arg /var/lib/containers/storage" +
		" --exit-command-arg --network-config-dir --exit-command-arg EMPTY --exit-command-arg --network-backend --exit-command-arg netavark" +
		" --exit-command-arg container --exit-command-arg cleanup --exit-command-arg " + web
	line = strings.NewReplacer(change...).Replace(line)
	return []byte(strings.ReplaceAll(strings.ReplaceAll(line, "EMPTY", ""), " ", "\x00") + "\x00")
}

func TestParseMonitor(t *testing.T) {
	m, ok := ParseMonitor(commandLine())
	want := Monitor{
		Container: web, Name: "web", Bundle: "/var/lib/containers/storage/overlay-containers/" + web + "/userdata",
		PIDFile: "/run/containers/storage/overlay-containers/" + web + "/userdata/pidfile", Backend: "netavark",
	}
	if !ok || m != want {
		t.Errorf("%+v, %v, want %+v", m, ok, want)
	}
	if store, ok := m.store(); !ok || store != "/var/lib/containers/storage/overlay-containers" {
		t.Errorf("store %q, %v", store, ok)
	}
	if m, _ := ParseMonitor(commandLine("EMPTY", "/etc/nets")); m.Networks != "/etc/nets" {
		t.Errorf("networks in %q", m.Networks)
	}
	for name, line := range map[string][]byte{
		"another program":          commandLine("/usr/bin/conmon", "/usr/bin/podman"),
		"of podman exec":           commandLine("-u "+web, "-u "+strings.Repeat("a", 64)),
		"of another engine":        commandLine("/usr/bin/podman", "/usr/bin/crio"),
		"without a name":           commandLine("-n web", ""),
		"a container without a id": commandLine(web, "web"),
		"a container's short id":   commandLine(web, web[:12]),
		"nothing":                  nil,
		"cut short":                commandLine()[:200],
	} {
		if m, ok := ParseMonitor(line); ok {
			t.Errorf("%s is taken for a monitor: %+v", name, m)
		}
	}
	for _, bundle := range []string{"", "userdata", "/somewhere/userdata", "/a/" + web, web + "/userdata"} {
		if store, ok := (Monitor{Container: web, Bundle: bundle}).store(); ok {
			t.Errorf("%q is in the store %q", bundle, store)
		}
	}
}

func FuzzParseMonitor(f *testing.F) {
	f.Add(commandLine())
	f.Fuzz(func(t *testing.T, line []byte) {
		if m, ok := ParseMonitor(line); ok && (m.Name == "" || len(m.Container) != 64) {
			t.Errorf("%q is taken for a monitor: %+v", line, m)
		}
	})
}
