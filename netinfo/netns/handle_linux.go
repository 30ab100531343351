package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Handle keeps one network namespace alive and enterable. It owns a file
// descriptor; Close releases it. A Handle may be used by several goroutines at
// once, but not after Close.
type Handle struct {
	file *os.File
	id   ID
}

// Current opens the namespace of the calling thread.
func Current() (*Handle, error) {
	return Open("/proc/thread-self/ns/net")
}

// OfProcess opens the namespace of a process. It needs the right to ptrace the
// process (ptrace(2), PTRACE_MODE_READ_FSCREDS).
func OfProcess(pid int) (*Handle, error) {
	return Open(fmt.Sprintf("/proc/%d/ns/net", pid))
}

// Open opens a namespace by path: a link in /proc or a bind mount as ip netns
// and container engines make them. A path that names anything but a network
// namespace is an error.
func Open(path string) (*Handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat namespace %s: %w", path, err), f.Close())
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.Join(fmt.Errorf("open namespace %s: not a network namespace", path), f.Close())
	}
	return &Handle{file: f, id: ID(st.Ino)}, nil
}

// New makes an empty namespace, with no process in it, that lives as long as
// its Handle (or a bind mount of its Path). It needs CAP_SYS_ADMIN.
func New() (*Handle, error) {
	var h *Handle
	err := onThrowawayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make namespace: %w", err)
		}
		var err error
		h, err = Current()
		return err
	})
	return h, err
}

// ID returns the namespace's identity. It stays valid after Close.
func (h *Handle) ID() ID { return h.id }

// Fd returns the descriptor of the namespace, owned by h.
func (h *Handle) Fd() int { return int(h.file.Fd()) }

// Path returns a path through which this process can open the namespace as
// long as h is open.
func (h *Handle) Path() string {
	return fmt.Sprintf("/proc/self/fd/%d", h.Fd())
}

// Close releases the descriptor.
func (h *Handle) Close() error { return h.file.Close() }

// Do runs f inside the namespace and returns its error. f runs on a thread of
// its own, which ends with it: sockets that f opens stay in the namespace,
// whichever thread uses them later. f must not start goroutines that need the
// namespace. Entering needs CAP_SYS_ADMIN over the namespace's owner (setns(2)).
func (h *Handle) Do(f func() error) error {
	return onThrowawayThread(func() error {
		if err := unix.Setns(h.Fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %v: %w", h.id, err)
		}
		return f()
	})
}

// onThrowawayThread runs f on a thread that no other goroutine ever uses
// again: a goroutine that ends while locked takes its thread with it.
//
// The process's first thread is spared. It can't end before the process, and
// /proc/self shows its namespace as that of the process.
func onThrowawayThread(f func() error) error {
	done := make(chan error, 1)
	var run func()
	run = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Whoever starts while this one holds the first thread gets another.
			started := make(chan struct{})
			go func() {
				close(started)
				run()
			}()
			<-started
			runtime.UnlockOSThread() //nolint:forbidigo // it has not moved
			return
		}
		done <- f()
	}
	go run()
	return <-done
}
