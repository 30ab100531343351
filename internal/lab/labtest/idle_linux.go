package labtest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Idle waits until a process sleeps: a program that listens (tcpdump, conntrack -E) has
// then written all that the kernel gave it. What is sent to a socket makes its reader
// ready to run at once; what the kernel keeps back, as a block of libpcap's without
// --immediate-mode for a second, has to be waited for before. One that waits for somebody
// to take what it writes is not idle.
func Idle(tb testing.TB, pid int) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		asleep, err := sleeps(pid)
		if err != nil {
			tb.Fatal(err)
		}
		if asleep {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("process %d does not come to rest", pid)
		}
	}
}

func sleeps(pid int) (bool, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, err
	}
	_, behind, ok := bytes.Cut(stat, []byte(") ")) // its name may hold anything else
	if !ok || !bytes.HasPrefix(behind, []byte("S")) {
		return false, nil
	}
	at, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	if err != nil {
		return false, err
	}
	// A process is "S" from before it looks for work a last time, and may lose the processor
	// there; where it waits is "0" until it has left the run queue (get_wchan, kernel/sched/core.c).
	return string(at) != "0" && !strings.Contains(string(at), "pipe_write"), nil
}
