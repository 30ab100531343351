package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemoWhereNamespacesAreForbidden runs the demo where the kernel refuses user
// namespaces: in a chroot, as an ordinary user (user_namespaces(7)).
func TestDemoWhereNamespacesAreForbidden(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a chroot")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(natlens)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "natlens"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	// In a mount namespace of its own, nothing has to be unmounted afterwards.
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c",
		`mount -t proc proc "$0/proc" && exec chroot --userspec=65534:65534 "$0" /natlens demo`, root)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%v, want status 3: %s", err, said.String())
	}
	if len(out) > 0 {
		t.Errorf("standard output: %s", out)
	}
	for _, want := range []string{"private namespaces are forbidden here", "\n  sudo /natlens demo\n"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("want %q in %q", want, said.String())
		}
	}
}
