package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// prompt is what stands below a screen that waits.
const prompt = "-- Enter goes on, Ctrl-C ends --"

// unprompt takes the prompt away, after the Enter that the terminal echoed: one
// line up, and erased (ECMA-48, CUU and EL).
const unprompt = "\x1b[A\r\x1b[2K"

// pauser waits for Enter. It reads from the terminal by a descriptor of its own,
// so that closing it ends the wait, and nothing changes for the shell's.
type pauser struct {
	tty *os.File
}

// canPause reports whether somebody reads along and can press Enter.
func (a *app) canPause() bool {
	return a.terminal.interactive && a.stdin != nil && term.IsTerminal(int(a.stdin.Fd()))
}

func openPauser() (*pauser, error) {
	// Non-blocking, and so known to the runtime's poller: only there does Close
	// end a Read.
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("pause: %w", err)
	}
	return &pauser{tty: tty}, nil
}

// wait returns when Enter was pressed, or ctx has ended.
func (p *pauser) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.tty.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	key := make([]byte, 256) // the terminal hands over a line at a time
	_, err := p.tty.Read(key)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (p *pauser) close() error { return p.tty.Close() }
