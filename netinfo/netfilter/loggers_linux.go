package netfilter

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"natlens/netinfo/netns"
)

const (
	// loggerPath is net.netfilter.nf_log.N: the logger of a protocol family, in
	// the namespace of the thread that opens it.
	loggerPath = "/proc/sys/net/netfilter/nf_log/"
	// netlinkLogger gives to programs what a family logs.
	netlinkLogger = "nfnetlink_log"
)

// loggerFamilies are IPv4 and IPv6, as the names of their settings.
var loggerFamilies = []string{"2", "10"}

// loggers is the one setting that tracing changes: where rules of iptables-legacy
// are, what they log has to come by netlink. A second process waits for this one
// to end, so that the setting is put back even if this one is killed.
type loggers struct {
	namespace *netns.Handle
	before    string // lines of family and logger
	watchdog  *exec.Cmd
	pipe      io.Closer // its end ends the watchdog
}

// takeLoggers changes the setting. restorer is a command that calls RestoreLoggers.
func takeLoggers(ns *netns.Handle, restorer []string) (*loggers, error) {
	own, err := netns.Open(ns.Path())
	if err != nil {
		return nil, err
	}
	l := &loggers{namespace: own}
	err = own.Do(func() error {
		for _, family := range loggerFamilies {
			b, err := os.ReadFile(loggerPath + family)
			if err != nil {
				return err
			}
			l.before += family + " " + strings.TrimSpace(string(b)) + "\n"
		}
		return nil
	})
	if err == nil {
		err = l.guard(restorer)
	}
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	err = own.Do(func() error {
		for _, family := range loggerFamilies {
			if err := os.WriteFile(loggerPath+family, []byte(netlinkLogger), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// guard starts the watchdog, before there is anything to put back. It has a
// session of its own: Ctrl-C and a closed terminal are not for it.
func (l *loggers) guard(restorer []string) error {
	fd, err := unix.FcntlInt(uintptr(l.namespace.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "namespace")
	defer func() { _ = file.Close() }()
	cmd := exec.Command(restorer[0], restorer[1:]...)
	cmd.ExtraFiles = []*os.File{file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start watchdog: %w", err), pipe.Close())
	}
	l.watchdog, l.pipe = cmd, pipe
	if _, err := io.WriteString(pipe, l.before); err != nil {
		return errors.Join(fmt.Errorf("tell watchdog: %w", err), pipe.Close(), cmd.Wait())
	}
	return nil
}

// changed are the settings that are not what they were, and that.
func (l *loggers) changed() (settings []string) {
	for line := range strings.Lines(l.before) {
		family, logger, _ := strings.Cut(strings.TrimSpace(line), " ")
		if logger != netlinkLogger {
			settings = append(settings, loggerSetting+family+"="+logger)
		}
	}
	return settings
}

// close puts the setting back and ends the watchdog, which looks once more.
func (l *loggers) close() error {
	err := restoreLoggers(l.namespace, l.before)
	return errors.Join(err, l.pipe.Close(), l.watchdog.Wait(), l.namespace.Close())
}

// restoreLoggers puts back what nobody else has changed since.
func restoreLoggers(ns *netns.Handle, before string) error {
	return ns.Do(func() error {
		var errs []error
		for line := range strings.Lines(before) {
			family, logger, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok {
				continue
			}
			b, err := os.ReadFile(loggerPath + family)
			if err == nil && strings.TrimSpace(string(b)) == netlinkLogger {
				err = os.WriteFile(loggerPath+family, []byte(logger), 0)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// RestoreLoggers is what a Tracer's watchdog does: it waits until the Tracer's
// process has ended, or has closed in, and puts the loggers back of the namespace
// that is open as descriptor 3.
func RestoreLoggers(in io.Reader) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	before, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("wait for natlens: %w", err)
	}
	ns, err := netns.Open("/proc/self/fd/3")
	if err != nil {
		return err
	}
	return errors.Join(restoreLoggers(ns, string(before)), ns.Close())
}
