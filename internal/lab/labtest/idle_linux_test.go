package labtest

import (
	"os/exec"
	"testing"
	"time"
)

// A program that waits for its input is idle; one that computes is not, nor one whose
// output nobody takes.
func TestSleeps(t *testing.T) {
	for _, c := range []struct {
		script string
		want   bool
	}{{"read line", true}, {"while :; do :; done", false}, {"exec cat /dev/zero", false}} {
		cmd := exec.Command("sh", "-c", c.script)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cmd.StdoutPipe(); err != nil { // which nobody reads
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if c.want {
			Idle(t, cmd.Process.Pid)
		} else {
			for range 20 {
				if asleep, err := sleeps(cmd.Process.Pid); asleep || err != nil {
					t.Errorf("%s: asleep %v, %v", c.script, asleep, err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = in.Close()
		_ = cmd.Wait()
	}
}
