package leak

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// Check makes the test fail if, when it ends, this process has descriptors,
// goroutines or children that it did not have when Check was called, or a thread
// in another network namespace. Call it first, so that everything the test
// cleans up is gone when Check looks.
//
// The number of threads is not compared: the runtime keeps idle threads, and one
// that is kept in a wrong namespace is the leak that hurts.
func Check(t testing.TB) {
	t.Helper()
	compareAtEnd(t, process)
}

func process() (inventory, error) {
	all := inventory{}
	for _, take := range []func() (inventory, error){descriptors, strayThreads, children} {
		some, err := take()
		if err != nil {
			return nil, err
		}
		maps.Copy(all, some)
	}
	maps.Copy(all, goroutines())
	return all, nil
}

// descriptors lists /proc/self/fd. A descriptor is known by its number and its
// target: one that was closed and opened again for something else is new.
func descriptors() (inventory, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := inventory{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the descriptor that listed the folder, or closed since
		}
		if err != nil {
			return nil, err
		}
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue // the runtime's poller, made once when it is first needed
		}
		line := fmt.Sprintf("descriptor %s: %s", e.Name(), target)
		found[line] = line
	}
	return found, nil
}

// strayThreads lists the threads that stand in another network namespace than
// the one that runs this goroutine. The process's first thread is left aside: if
// a goroutine changed its namespace and ended, the runtime parks that thread for
// ever, because it can't end it.
func strayThreads() (inventory, error) {
	home, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	found := inventory{}
	for _, task := range tasks {
		if task.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		// A thread that ends meanwhile has no namespace.
		ns, err := os.Readlink(filepath.Join("/proc/self/task", task.Name(), "ns/net"))
		if err == nil && ns != home {
			line := fmt.Sprintf("thread %s in %s", task.Name(), ns)
			found[line] = line
		}
	}
	return found, nil
}

// children lists the processes that this process started and that are still
// there, dead ones that nobody waited for included.
func children() (inventory, error) {
	self := strconv.Itoa(os.Getpid())
	found := inventory{}
	err := eachProcess(func(pid string) {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			return // it ended
		}
		// pid (command) state ppid …; the command may contain parentheses.
		end := bytes.LastIndexByte(stat, ')')
		if end < 0 {
			return
		}
		if after := strings.Fields(string(stat[end+1:])); len(after) > 1 && after[1] == self {
			found["child "+string(stat[:end+1])] = fmt.Sprintf("child %s, state %s", stat[:end+1], after[0])
		}
	})
	return found, err
}

// eachProcess calls f with each process's number as /proc writes it.
func eachProcess(f func(pid string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			f(e.Name())
		}
	}
	return nil
}

// goroutines lists all goroutines but those of package testing. The number of a
// goroutine is never used again.
func goroutines() inventory {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	found := inventory{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		head, frames, _ := strings.Cut(stack, "\n")
		id, _, _ := strings.Cut(head, " [")
		if ownedByTesting(frames) || strings.Contains(frames, "os/signal.signal_recv") {
			continue // signal's one goroutine is made once and never ends
		}
		found[id] = id + ":\n    " + strings.ReplaceAll(strings.TrimSpace(frames), "\n", "\n    ")
	}
	return found
}

// ownedByTesting reports whether package testing started the goroutine or it is
// the one that runs the tests.
func ownedByTesting(frames string) bool {
	_, creator, ok := strings.Cut(frames, "created by ")
	return !ok || strings.HasPrefix(creator, "testing.")
}
