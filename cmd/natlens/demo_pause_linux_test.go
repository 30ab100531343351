package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"natlens/internal/lab/labtest"
)

// class is a demo that is shown on a terminal, a screen at a time.
type class struct {
	t        *testing.T
	cmd      *exec.Cmd
	keyboard *os.File
}

func openClass(t *testing.T, scenario string) *class {
	t.Helper()
	keyboard, terminal := labtest.Terminal(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "demo", "--pause", scenario)
	cmd.Args[0] = "natlens"
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=80", "LC_ALL=C.UTF-8")
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &class{t, cmd, keyboard}
}

// screen reads up to the next prompt, or to the end.
func (c *class) screen() string {
	c.t.Helper()
	var b strings.Builder
	part := make([]byte, 4096)
	for !strings.HasSuffix(b.String(), prompt) {
		n, err := c.keyboard.Read(part)
		b.Write(part[:n])
		if err != nil { // EIO: the other end is closed
			break
		}
	}
	if status := c.cmd.ProcessState; status == nil && strings.Contains(b.String(), "private namespaces are forbidden") {
		c.t.Skip("needs user namespaces")
	}
	return b.String()
}

func (c *class) press(keys string) {
	c.t.Helper()
	if _, err := c.keyboard.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

func TestPauseShowsAScreenAtATime(t *testing.T) {
	c := openClass(t, "masquerade")
	for i, step := range []struct{ shown, notYet string }{
		{"A host made of namespaces", "$ sudo natlens"},
		{"elsewhere$ docker exec back ping", "elsewhere$ curl"},
		{"elsewhere$ curl", "On the way out"},
		{"(conntrack).", prompt},
	} {
		if i > 0 {
			c.press("\n")
		}
		got := c.screen()
		if !strings.Contains(got, step.shown) || strings.Contains(got, step.notYet) {
			t.Fatalf("screen %d:\n%s\n--- want %q in it, and not yet %q", i+1, got, step.shown, step.notYet)
		}
	}
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestPauseEndsAtCtrlC(t *testing.T) {
	c := openClass(t, "none")
	c.screen()
	c.press("\x03")
	if rest := c.screen(); strings.Contains(rest, "natlens:") || strings.Contains(rest, "$ docker") {
		t.Errorf("it said %q", rest)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}
