package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// entry is a conntrack entry as conntrack(8) printed it.
type entry struct {
	id              uint64
	protocol        string
	original, reply [2]address // source, destination
	icmp            [2]int     // echo id, original and reply
}

// tracker is a running conntrack -E.
type tracker struct {
	cmd *exec.Cmd
	out *safeBuffer
}

func startConntrack(t *testing.T, e *engine.Engine) *tracker {
	t.Helper()
	c := &tracker{cmd: e.Command("conntrack", "-E", "-e", "NEW", "-o", "id", "-b", "8388608"), out: &safeBuffer{}}
	said := &safeBuffer{}
	c.cmd.Stdout, c.cmd.Stderr = c.out, said
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.cmd.Process.Kill() })
	// It says nothing when it is ready, so a flow is made until it shows.
	await(t, 10*time.Second, "conntrack -E", func() bool {
		_ = e.Command("ping", "-c1", "-W1", "127.0.0.1").Run()
		return c.out.String() != ""
	})
	return c
}

var (
	field    = regexp.MustCompile(`(\w+)=(\S+)`)
	entryIDs = regexp.MustCompile(`\bid=(\d+)`)
)

// stop ends it and returns the entries, in the order in which they were made.
func (c *tracker) stop(t *testing.T) []entry {
	t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // it has no good status to end with
	if said := c.cmd.Stderr.(*safeBuffer).String(); strings.Contains(said, "ENOBUFS") {
		t.Fatalf("the oracle lost events: %s", said)
	}
	var all []entry
	for line := range strings.Lines(c.out.String()) {
		var e entry
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		e.protocol = words[1]
		side := -1
		for _, m := range field.FindAllStringSubmatch(line, -1) {
			key, value := m[1], m[2]
			if key == "src" {
				side++
			}
			if side > 1 {
				break
			}
			pair := &e.original
			if side == 1 {
				pair = &e.reply
			}
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "src":
				pair[0].IP = value
			case "dst":
				pair[1].IP = value
			case "sport":
				pair[0].Port = uint16(n)
			case "dport":
				pair[1].Port = uint16(n)
			}
		}
		// An echo has an id in each tuple; the entry's own comes last.
		ids := entryIDs.FindAllStringSubmatch(line, -1)
		for i, m := range ids {
			n, err := strconv.ParseUint(m[1], 10, 64)
			if err != nil {
				t.Fatalf("conntrack printed %q", line)
			}
			if e.id = n; i < len(ids)-1 {
				e.icmp[i] = int(n)
			}
		}
		if len(ids) == 0 {
			t.Fatalf("conntrack printed %q", line)
		}
		all = append(all, e)
	}
	return all
}
