package capture

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"natlens/internal/lab/labtest"
	"natlens/netinfo/netns"
)

// tcpdump captures in a namespace, on all links, until the function that it
// returns is called; that returns the frames.
func tcpdump(t *testing.T, ns *netns.Handle, link string) (stop func() [][]byte) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	inherited, err := os.Open(ns.Path())
	must(t, err)
	defer inherited.Close()
	cmd := exec.Command("nsenter", "--net=/proc/self/fd/3", "tcpdump", "-i", link, "-s", "128", "-U", "--immediate-mode", "-Z", "root", "-w", "-")
	cmd.ExtraFiles = []*os.File{inherited}
	var file bytes.Buffer
	cmd.Stdout = &file
	said, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	// It says "listening on" once its socket is open.
	first := make([]byte, 1024)
	var words strings.Builder
	for !strings.Contains(words.String(), "listening on") {
		n, err := said.Read(first)
		words.Write(first[:n])
		if err != nil {
			t.Fatalf("tcpdump: %v: %s", err, words.String())
		}
	}
	return func() [][]byte {
		t.Helper()
		labtest.Idle(t, cmd.Process.Pid)
		must(t, cmd.Process.Signal(os.Interrupt))
		rest, _ := io.ReadAll(said)
		if err := cmd.Wait(); err != nil {
			t.Fatalf("tcpdump: %v: %s", err, rest)
		}
		if !bytes.Contains(rest, []byte("\n0 packets dropped by kernel")) {
			t.Fatalf("tcpdump is no oracle here: %s", rest)
		}
		r, err := pcapgo.NewReader(&file)
		must(t, err)
		var frames [][]byte
		for {
			data, _, err := r.ReadPacketData()
			if errors.Is(err, io.EOF) {
				return frames
			}
			must(t, err)
			frames = append(frames, data)
		}
	}
}

func TestRingsSeeWhatTcpdumpSees(t *testing.T) {
	c := newCable(t)
	stop := tcpdump(t, c.right, "right")
	r := record(t, Config{}, c.right)
	conn := c.dial(t)
	for n := range 1000 {
		_, err := conn.Write(payload(n))
		must(t, err)
		if n%100 == 0 {
			time.Sleep(3 * time.Millisecond)
		}
	}
	c.inject(t, ethernetUDP([]byte("tagged"), 0x8100, 7))
	c.inject(t, withEthernet(0x88b5, []byte("something else, long enough")))
	r.waitThrough(t)
	want := stop()
	r.stop(t)
	if len(want) < 1002 {
		t.Errorf("tcpdump saw %d frames, want 1002", len(want))
	}
	if len(r.seen) != len(want) {
		t.Fatalf("%d packets, tcpdump saw %d", len(r.seen), len(want))
	}
	for i := range want {
		// tcpdump lets a tag lengthen the capture, which these don't.
		if !bytes.Equal(r.seen[i].Data, want[i]) {
			t.Errorf("packet %d: % x\ntcpdump:  % x", i, r.seen[i].Data, want[i])
		}
	}
}
