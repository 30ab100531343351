package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// captures returns what opens a capture's files. Where there is more than one, they are
// numbered before the ending: back_00001.pcapng.
func (a *app) captures(f *writeFlags) func(part int) (io.WriteCloser, error) {
	if f.path == "-" {
		return func(int) (io.WriteCloser, error) { return standardOutput{a.stdout}, nil }
	}
	if f.bytes == 0 && f.interval == 0 {
		return func(int) (io.WriteCloser, error) { return createCapture(f.path) }
	}
	n := &numbered{keep: f.keep}
	if n.ending = filepath.Ext(f.path); n.ending == filepath.Base(f.path) {
		n.ending = "" // a hidden file's name
	}
	n.begin = strings.TrimSuffix(f.path, n.ending) + "_"
	return n.open
}

// standardOutput stays open: the program may have more to say there.
type standardOutput struct{ io.Writer }

func (standardOutput) Close() error { return nil }

// numbered are the files of a watch that begins a new one now and then.
type numbered struct {
	begin, ending string
	keep          int // 0: all
	// lock is that of the last file, which is held until the next one has its own: while
	// the watch lasts, one of its files is locked.
	lock *os.File
}

func (n *numbered) name(part int) string { return fmt.Sprintf("%s%05d%s", n.begin, part+1, n.ending) }

// open begins a file, and removes the one that is not to be kept any more.
func (n *numbered) open(part int) (io.WriteCloser, error) {
	if part == 0 {
		if err := n.free(); err != nil {
			return nil, err
		}
	}
	if old := part - n.keep; n.keep > 0 && old >= 0 {
		if err := os.Remove(n.name(old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	file, err := createCapture(n.name(part))
	if err != nil {
		return nil, err
	}
	before := n.lock
	n.lock = nil
	if fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		n.lock = os.NewFile(uintptr(fd), file.Name())
	}
	if before != nil {
		_ = before.Close() // it was not written by
	}
	return file, nil
}

// free is the error that another watch writes files of these names.
func (n *numbered) free() error {
	names, _ := os.ReadDir(filepath.Dir(n.begin)) // who can't may write there
	for _, e := range names {
		middle, begins := strings.CutPrefix(e.Name(), filepath.Base(n.begin))
		middle, ends := strings.CutSuffix(middle, n.ending)
		if _, err := strconv.ParseUint(middle, 10, 32); err != nil || !begins || !ends || !e.Type().IsRegular() {
			continue
		}
		path := n.begin + middle + n.ending
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		err = lock(file)
		_ = file.Close() // with its lock
		if err != nil {
			return err
		}
	}
	return nil
}

// createCapture makes a file that only its owner reads: there are passwords in
// it. Behind sudo(8) the owner is who typed the command. A file that is there
// stays whose it is, and loses what was in it, unless another watch writes it.
func createCapture(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		if file, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			return nil, err
		}
		if err := reuse(file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return file, nil
	}
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	uid, errUser := strconv.Atoi(os.Getenv("SUDO_UID"))
	gid, errGroup := strconv.Atoi(os.Getenv("SUDO_GID"))
	if os.Geteuid() == 0 && errUser == nil && errGroup == nil {
		if err := file.Chown(uid, gid); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return file, nil
}

// reuse empties a file that was there. A pipe or a terminal holds nothing, and several
// may write to it.
func reuse(file *os.File) error {
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := lock(file); err != nil {
		return err
	}
	return file.Truncate(0)
}

// lock keeps other watches from writing a file until it is closed, or the process is
// killed. Where the file system has no locks, nothing does.
func lock(file *os.File) error {
	for range lockTries {
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return nil
		}
		time.Sleep(lockWait)
	}
	return fmt.Errorf("open %s: another natlens watch writes it: give this one a name of its own", file.Name())
}

// A watch that only looks whether it may begin has a lock for a moment, too.
const (
	lockTries = 5
	lockWait  = 20 * time.Millisecond
)
