package leak

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/internal/lab/labtest"
)

// added returns what f adds to an inventory.
func added(t *testing.T, take func() (inventory, error), f func()) string {
	t.Helper()
	before, err := take()
	if err != nil {
		t.Fatal(err)
	}
	f()
	after, err := take()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(more(before, after), "\n")
}

func TestProcessSeesADescriptor(t *testing.T) {
	var r, w *os.File
	got := added(t, process, func() {
		var err error
		if r, w, err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	})
	defer r.Close()
	defer w.Close()
	if strings.Count(got, "pipe:[") != 2 {
		t.Errorf("a pipe has two ends, seen:\n%s", got)
	}
}

func TestProcessSeesAGoroutine(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	got := added(t, process, func() { go func() { <-end }() })
	if !strings.Contains(got, "TestProcessSeesAGoroutine") {
		t.Errorf("the goroutine is not named, seen:\n%s", got)
	}
}

func TestProcessSeesAChild(t *testing.T) {
	var cmd *exec.Cmd
	var stdin io.WriteCloser
	got := added(t, children, func() {
		cmd = exec.Command("cat")
		var err error
		if stdin, err = cmd.StdinPipe(); err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if !strings.Contains(got, "child ") {
		t.Errorf("the child is not seen: %q", got)
	}
	if got := added(t, children, func() {
		stdin.Close()
		// Until it is dead, which is not to wait for it.
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != nil {
			t.Error(err)
		}
	}); got != "" {
		t.Errorf("a child that ended is more than there was: %q", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestProcessSeesAStrayThread(t *testing.T) {
	moved, end, gone := make(chan error), make(chan struct{}), make(chan struct{})
	enter := func() {
		go func() {
			defer close(gone)
			runtime.LockOSThread()
			moved <- unix.Unshare(unix.CLONE_NEWNET)
			<-end
		}()
		if err := <-moved; errors.Is(err, unix.EPERM) {
			close(end)
			t.Skip("needs CAP_SYS_ADMIN: run as root")
		} else if err != nil {
			close(end)
			t.Fatal(err)
		}
	}
	got := added(t, strayThreads, enter)
	close(end)
	<-gone
	if !strings.Contains(got, " in net:[") {
		t.Errorf("the thread is not seen: %q", got)
	}
}

func TestHostListsWhatIsThere(t *testing.T) {
	all, err := host()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"link 1: lo", "mount / on /proc"} {
		found := false
		for _, have := range all {
			found = found || have == line
		}
		if !found {
			t.Errorf("the host has %q, which is not in the inventory", line)
		}
	}
}

// In a mount namespace that follows another one, what others mount shows up, too.
func TestMountsOfOthersAreLeftOut(t *testing.T) {
	got := mountsIn("67 129 0:230 / /run rw,nosuid - tmpfs tmpfs rw\n" +
		"196 67 0:4 net:[4026534456] /run/netns/own rw - nsfs nsfs rw\n" +
		"197 67 0:4 net:[4026534457] /run/netns/other rw master:7 - nsfs nsfs rw\n")
	if len(got) != 2 || got["196 /run/netns/own"] == "" {
		t.Errorf("%q", got)
	}
}

// An orphan has another parent, but still the environment it was born with. It is
// looked for when it says that it runs: one that is just being started has none.
func TestProcessesWithSeesAnOrphan(t *testing.T) {
	const mark = marker + "=orphan"
	stop, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stop.Close()
	defer hold.Close() // ends the orphan
	pid := 0
	got := added(t, func() (inventory, error) { return processesWith(mark) }, func() {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		cmd := exec.Command("sh", "-c", `sh -c 'echo $$; read end <&3' & exit 0`)
		cmd.Env = append(cmd.Environ(), mark)
		cmd.Stdout, cmd.ExtraFiles = w, []*os.File{stop}
		err = cmd.Run()
		w.Close()
		if err == nil {
			_, err = fmt.Fscan(r, &pid)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if !strings.Contains(got, fmt.Sprintf("process %d: ", pid)) {
		t.Errorf("the orphan, %d, is not seen: %q", pid, got)
	}
	hold.Close()
	// In a lab the tests' process is the first one, whose children all orphans become.
	if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
		t.Error(err)
	}
}

// In a lab, because anybody may mount something on the machine meanwhile.
func TestNothingIsAddedByLooking(t *testing.T) {
	labtest.Need(t)
	Check(t)
	CheckHost(t)
	cmd := exec.Command("true")
	Mark(t, cmd)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}
