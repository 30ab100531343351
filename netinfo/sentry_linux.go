package netinfo

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// sentry notices when something that keeps namespaces alive comes or goes:
// a mount in this mount namespace, or the end of one of the processes it was
// told to look at. Both it learns at once, without polling.
type sentry struct {
	// mountinfo is a bare descriptor: the kernel reports a change once to
	// whoever polls it, and an os.File would be polled by the Go runtime, too.
	mountinfo int
	wake      int // eventfd

	mu    sync.Mutex
	pids  []int // to look at
	ended bool
}

func newSentry() (*sentry, error) {
	mountinfo, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch mounts: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch mounts: eventfd: %w", err), unix.Close(mountinfo))
	}
	return &sentry{mountinfo: mountinfo, wake: wake}, nil
}

// lookAt replaces the processes to look at.
func (s *sentry) lookAt(pids []int) {
	s.mu.Lock()
	s.pids = pids
	s.mu.Unlock()
	s.signal()
}

// stop ends run.
func (s *sentry) stop() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.signal()
}

func (s *sentry) signal() {
	one := [8]byte{1}
	// It fails only when the counter is full, and then run is awake anyway.
	_, _ = unix.Write(s.wake, one[:])
}

// run calls notify when something changed, until stop. It releases what the
// sentry owns.
func (s *sentry) run(notify func()) {
	watched := map[int]int{} // process to its pidfd, -1 when there is none
	defer func() {
		for _, fd := range watched {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
		_ = unix.Close(s.wake)
		_ = unix.Close(s.mountinfo)
	}()
	for {
		s.mu.Lock()
		pids, ended := s.pids, s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		s.follow(watched, pids)
		// The kernel reports a changed mount table as an error condition with
		// priority data (proc_pid_mountinfo(5)), the end of a process as input
		// on its descriptor (pidfd_open(2)).
		polls := []unix.PollFd{
			{Fd: int32(s.wake), Events: unix.POLLIN},
			{Fd: int32(s.mountinfo), Events: unix.POLLPRI},
		}
		order := []int{0, 0}
		for pid, fd := range watched {
			if fd >= 0 {
				polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
				order = append(order, pid)
			}
		}
		if _, err := unix.Poll(polls, -1); err != nil {
			continue // EINTR
		}
		if polls[0].Revents != 0 {
			var counter [8]byte
			_, _ = unix.Read(s.wake, counter[:]) // resets it
		}
		changed := polls[1].Revents != 0
		for i := 2; i < len(polls); i++ {
			if polls[i].Revents != 0 {
				changed = true
				_ = unix.Close(int(polls[i].Fd))
				watched[order[i]] = -1 // ended: not to be opened again
			}
		}
		if changed {
			notify()
		}
	}
}

// follow opens a descriptor of each process that is new in the list and
// closes those of processes that are not in it anymore.
func (s *sentry) follow(watched map[int]int, pids []int) {
	wanted := make(map[int]bool, len(pids))
	for _, pid := range pids {
		wanted[pid] = true
		if _, ok := watched[pid]; ok {
			continue
		}
		// Before Linux 5.3 there are none: then the next discovery finds out.
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			fd = -1
		}
		watched[pid] = fd
	}
	for pid, fd := range watched {
		if !wanted[pid] {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
			delete(watched, pid)
		}
	}
}
