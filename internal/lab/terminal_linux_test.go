package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/lab/labtest"
)

// Ctrl-C reaches parent and child alike; the parent has to let the child end.
func TestTerminalInterrupts(t *testing.T) {
	labtest.Need(t)
	keyboard, terminal := openTerminal(t)
	cmd := startable(context.Background(), "wait")
	cmd.Stdin, cmd.Stdout = terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	screen := bufio.NewReader(keyboard)
	expect := func(want string) {
		t.Helper()
		if line, err := screen.ReadString('\n'); err != nil || !strings.HasSuffix(line, want+"\r\n") {
			t.Fatalf("screen shows %q, %v; want %q", line, err, want)
		}
	}
	expect("waiting")
	if _, err := keyboard.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	expect("interrupted")
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != statusChosen {
		t.Errorf("status %d, want %d", got, statusChosen)
	}
}

// openTerminal makes a pseudo terminal (pty(7)) and returns both ends.
func openTerminal(t *testing.T) (keyboard, terminal *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("needs pseudo terminals: %v", err)
	}
	keyboard = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { keyboard.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs pseudo terminals: %v", err)
	}
	t.Cleanup(func() { terminal.Close() })
	if err := keyboard.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return keyboard, terminal
}
