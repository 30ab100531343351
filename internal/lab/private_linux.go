package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrForbidden says that this host does not let this user make private
// namespaces: kernel.unprivileged_userns_clone=0, user.max_user_namespaces=0,
// a seccomp filter, or AppArmor's restriction of user namespaces, under which
// the namespace is made but nothing may be done in it.
var ErrForbidden = errors.New("private namespaces are forbidden here")

// killDelay is how long a cancelled child may take to end by itself: on a busy machine it
// takes down its host for seconds. Whom that is too long ends both by a second Ctrl-C.
const killDelay = 30 * time.Second

// Run runs this program again, with the given arguments, inside new network,
// mount and process namespaces, and waits for it. Without CAP_SYS_ADMIN and
// CAP_NET_ADMIN a new user namespace comes first, in which the caller is root.
// The child has the caller's standard streams and environment, except for what
// would lead it to a container engine; it must call Enter before anything else.
//
// Run returns the child's exit status, 128 plus the number when a signal ended
// it. The error is about the namespaces, never about what the child did there:
// ErrForbidden when this host or user does not permit them.
//
// The child dies with the caller, even when the caller is killed. When ctx is
// done the child gets SIGINT once, be it from the terminal or from here, and
// SIGKILL half a minute later.
func Run(ctx context.Context, args ...string) (status int, err error) {
	// The parent death signal comes when the thread that started the child
	// ends (prctl(2)). A goroutine of its own keeps one until the child is gone.
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		status, err = run(ctx, args)
	}()
	<-done
	return status, err
}

func run(ctx context.Context, args []string) (int, error) {
	report, reportTo, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("start lab: %w", err)
	}
	defer report.Close()
	cmd, err := command(ctx, args, reportTo)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("start lab: %w", err), reportTo.Close())
	}
	err = errors.Join(cmd.Start(), reportTo.Close())
	if err != nil {
		if forbids(err) {
			return 0, fmt.Errorf("%w: %w", ErrForbidden, err)
		}
		return 0, fmt.Errorf("start lab: %w", err)
	}
	// The child closes its end when it has entered, or by dying.
	words, err := io.ReadAll(report)
	if err != nil {
		err = fmt.Errorf("read report of lab: %w", err)
	}
	exited := new(exec.ExitError)
	if e := cmd.Wait(); e != nil && !errors.As(e, &exited) && ctx.Err() == nil {
		err = errors.Join(err, fmt.Errorf("wait for lab: %w", e))
	}
	if e := parseReport(string(words)); e != nil {
		err = errors.Join(err, e)
	}
	return exitStatus(cmd.ProcessState), err
}

func command(ctx context.Context, args []string, reportTo *os.File) (*exec.Cmd, error) {
	id, err := ownIdentity()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(withoutEngine(os.Environ()), marker+"="+id.String())
	cmd.ExtraFiles = []*os.File{reportTo} // descriptor 3 in the child
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if !privileged() {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.WaitDelay = killDelay
	cmd.Cancel = func() error {
		if inForeground() {
			return nil // the terminal told the child, too
		}
		return cmd.Process.Signal(os.Interrupt)
	}
	return cmd, nil
}

// privileged reports whether this process may make network and mount
// namespaces as it is.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // capabilities 0 to 31, 32 to 63
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return data[0].Effective&need == need
}

// inForeground reports whether this process group is the one that the terminal
// sends Ctrl-C to.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// withoutEngine drops the variables by which clients find a container engine:
// what it runs is not in the lab.
func withoutEngine(env []string) []string {
	kept := make([]string, 0, len(env)+1)
	for _, v := range env {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", marker:
		default:
			kept = append(kept, v)
		}
	}
	return kept
}

// forbids reports whether an error of clone(2) or of writing the id maps means
// that policy, not a mistake, is in the way.
func forbids(err error) bool {
	for _, errno := range []error{
		unix.EPERM,  // kernel.unprivileged_userns_clone, seccomp, a full id map
		unix.EACCES, // AppArmor, SELinux
		unix.ENOSPC, // user.max_user_namespaces and its like
		unix.EUSERS, // the same before Linux 4.9
		unix.EINVAL, // kernel without user namespaces
		unix.ENOSYS,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func exitStatus(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}
