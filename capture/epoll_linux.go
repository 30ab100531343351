package capture

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// epoll tells when one of many rings has a block ready. It is waited for through
// the runtime's own poller, which parks the goroutine: a thread that blocked in
// epoll_wait(2) a hundred times a second would keep the runtime's monitor busy.
//
// All methods are safe for concurrent use.
type epoll struct {
	file *os.File
	conn syscall.RawConn
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os.NewFile does not poll it
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "epoll")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), file.Close())
	}
	return &epoll{file: file, conn: conn}, nil
}

func (e *epoll) add(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	return e.control(unix.EPOLL_CTL_ADD, fd, &event)
}

func (e *epoll) remove(fd int) error {
	return e.control(unix.EPOLL_CTL_DEL, fd, nil)
}

func (e *epoll) control(op, fd int, event *unix.EpollEvent) error {
	var failed error
	err := e.conn.Control(func(epfd uintptr) {
		failed = unix.EpollCtl(int(epfd), op, fd, event)
	})
	return errors.Join(err, failed)
}

// wait returns when a descriptor is ready, and after a time at the latest.
func (e *epoll) wait(most time.Duration) error {
	if err := e.file.SetReadDeadline(time.Now().Add(most)); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	var failed error
	err := e.conn.Read(func(epfd uintptr) (done bool) {
		var ready [1]unix.EpollEvent // which one does not matter: all are looked at
		n, err := unix.EpollWait(int(epfd), ready[:], 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			failed = err
		}
		return n > 0 || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	return nil
}

func (e *epoll) close() error { return e.file.Close() }
