package netinfo

import (
	"strings"
	"testing"
)

// What /proc/PID/cgroup tells is chosen by whoever made the groups. An id that is read
// out of it stands in it.
func FuzzCgroup(f *testing.F) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, group := range []string{
		"", "/", "/docker/" + id, "/system.slice/docker-" + id + ".scope", "/machine.slice/libpod-" + id + ".scope/container",
		"/kubepods/pod1/" + id, "/lxc.payload.web/init.scope", "/lxc/web", `/machine.slice/machine-a\x2db.scope`, "/system.slice/ssh.service",
		"/user.slice/user@1000.service/app.service", "/docker/" + id + "/docker/" + strings.ToUpper(id),
	} {
		f.Add("0::" + group + "\n")
		f.Add("12:pids:" + group + "\n0::/\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		switch got := cgroupContainer(text); {
		case got == "":
		case len(got) != len(id) || strings.Trim(got, "0123456789abcdef") != "" || !strings.Contains(text, got):
			t.Errorf("container %q of %q", got, text)
		}
		if name := cgroupName(text); len(name) > len(text)+len("container-") || strings.ContainsRune(name, '\n') && !strings.Contains(text, `\x0a`) {
			t.Errorf("name %q of %q", name, text)
		}
	})
}
