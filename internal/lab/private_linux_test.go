package lab_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/lab/labtest"
)

const ordinaryUser = 65534

// startable returns a command that runs this binary as a program, in a process
// group of its own: no terminal interrupts it.
func startable(ctx context.Context, name string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), programVariable+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func asOrdinaryUser(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if users, err := os.ReadFile("/proc/self/uid_map"); err != nil || !strings.Contains(string(users), "4294967295") {
		t.Skip("needs root: other users do not exist in an ordinary user's lab")
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}
	cmd.Dir = "/"
}

func TestRunHandsStatusAndOutputThrough(t *testing.T) {
	labtest.Need(t)
	cmd := startable(t.Context(), "exit")
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != statusChosen || string(out) != "inside\n" {
		t.Errorf("status %d, output %q; want %d, %q", got, out, statusChosen, "inside\n")
	}
}

func TestRunAsOrdinaryUser(t *testing.T) {
	labtest.Need(t)
	cmd := startable(t.Context(), "play")
	asOrdinaryUser(t, cmd)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == statusForbidden {
		t.Skipf("needs user namespaces: %s", out)
	}
	if got := cmd.ProcessState.ExitCode(); got != 0 || string(out) != "played\n" {
		t.Errorf("status %d, output %q; want 0, %q", got, out, "played\n")
	}
}

// A process whose root is not its mount namespace's may not make user
// namespaces (user_namespaces(7)).
func TestRunSaysForbidden(t *testing.T) {
	labtest.Need(t)
	cmd := startable(t.Context(), "exit")
	asOrdinaryUser(t, cmd)
	root, err := os.MkdirTemp("", "root") //nolint:usetesting // what removes a TempDir descends into what is mounted there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(root); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("/", root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	cmd.SysProcAttr.Chroot = root
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != statusForbidden {
		t.Errorf("status %d (%v), output %q; want %d", got, err, out, statusForbidden)
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	labtest.Need(t)
	before := takeSnapshot(t)
	cmd := startable(t.Context(), "play")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	takeSnapshot(t).compare(t, before)
}

func TestCancelledChildEndsByItself(t *testing.T) {
	labtest.Need(t)
	cmd, out := waiting(t)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if rest := readAll(t, out); rest != "interrupted\n" {
		t.Errorf("output %q, want %q", rest, "interrupted\n")
	}
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != statusChosen {
		t.Errorf("status %d, want %d", got, statusChosen)
	}
}

func TestChildDiesWithItsParent(t *testing.T) {
	labtest.Need(t)
	cmd, out := waiting(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The child holds the other end of out: only its death ends the stream.
	if rest := readAll(t, out); rest != "" {
		t.Errorf("output %q, want none", rest)
	}
	cmd.Wait()
}

// waiting starts a program that waits inside its lab, and returns it when it
// does.
func waiting(t *testing.T) (*exec.Cmd, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd := startable(context.Background(), "wait")
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	r.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := bufio.NewReaderSize(r, 16).ReadString('\n'); err != nil || line != "waiting\n" {
		t.Fatalf("first line %q: %v", line, err)
	}
	return cmd, r
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("the child still runs: %v", err)
	}
	return string(rest)
}
