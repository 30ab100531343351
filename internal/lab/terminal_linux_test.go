package lab_test

import (
	"bufio"
	"context"
	"strings"
	"syscall"
	"testing"

	"natlens/internal/lab/labtest"
)

// Ctrl-C reaches parent and child alike; the parent has to let the child end.
func TestTerminalInterrupts(t *testing.T) {
	labtest.Need(t)
	keyboard, terminal := labtest.Terminal(t)
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
