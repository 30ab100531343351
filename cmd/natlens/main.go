// Natlens shows what Docker's networking does to a packet: where it went, what
// NAT made of it, which rule did that, and how natlens knows.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/term"
)

// The goroutine that runs main keeps the process's first thread, so that no other
// goroutine can change that thread's namespace: the runtime never ends the first
// thread, and /proc/PID/ns/net, by which everyone sees where a process is, is the
// first thread's.
func init() { runtime.LockOSThread() }

func main() {
	os.Exit(run(asPlugin(os.Args[0]), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it returns the exit status. As a plugin it gets its
// arguments from the Docker CLI.
func run(plugin bool, args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	a := &app{
		args:     args,
		stdin:    stdin,
		stdout:   &output{w: stdout, closed: func() { cancel(errOutputClosed) }},
		stderr:   stderr,
		terminal: terminalOf(stdout, os.Getenv),

		onTerminal: term.IsTerminal(int(stderr.Fd())),
	}
	root := newRootCommand(a)
	if plugin {
		if err := a.becomePlugin(root); err != nil {
			return a.report(root, usagef("%w", err))
		}
	}
	root.SetArgs(a.args)
	root.SetIn(stdin)
	root.SetOut(a.stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.stdout.err
	}
	return a.report(cmd, err)
}

// untilSignal returns a context that ends at the first signal that asks the
// program to end. From then on signals do what they did before, so that a
// second Ctrl-C kills a program that hangs while it ends.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1)
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(parent, signals...)
	context.AfterFunc(ctx, stop)

	// A write to a closed pipe must return an error: the runtime would kill
	// the process otherwise, with what it made still in the kernel. Notify,
	// unlike Ignore, leaves children the default action.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	return ctx, func() {
		signal.Stop(pipe)
		stop()
	}
}

// errOutputClosed is why a command's context ended when the reader of standard
// output went away.
var errOutputClosed = errors.New("standard output is closed")

// output is standard output. It remembers its first error, so that commands
// may print without looking at each result: a full disk still makes the
// program fail, and a closed pipe still ends it. It is not safe for concurrent
// use; a command has one goroutine that prints.
type output struct {
	w      io.Writer
	closed func() // called once, when nobody reads any more
	err    error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(p)
	switch {
	case err == nil:
	case errors.Is(err, syscall.EPIPE):
		o.err = errOutputClosed
		o.closed()
	default:
		o.err = err
	}
	return n, o.err
}
