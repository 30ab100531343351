package oracletest

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/labtest"
)

// Entry is a conntrack entry as conntrack(8) printed it.
type Entry struct {
	ID              uint64
	Time            int64 // when conntrack read it, ns; 0 if it was there before
	Ended           int64 // when conntrack read that it was gone, ns; 0 if it did not
	Protocol        string
	Original, Reply [2]Address // source, destination
	ICMP            [2]int     // echo id, original and reply

	began int64 // when its first packet was seen, at the earliest, ns
}

// Tracker is a running conntrack -E.
type Tracker struct {
	cmd   *exec.Cmd
	out   *Buffer
	said  *Buffer
	older []byte // what conntrack -L printed when it listened
}

// Track starts conntrack -E by prepare, which runs a program in the namespace
// that tracks, and returns when it listens.
func Track(t testing.TB, prepare func(name string, args ...string) *exec.Cmd) *Tracker {
	t.Helper()
	c := &Tracker{out: &Buffer{}, said: &Buffer{}}
	c.cmd = prepare("conntrack", "-E", "-e", "NEW,DESTROY", "-o", "id,timestamp", "-b", "8388608")
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.said
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill() }) // it may have ended
	// It says nothing when it is ready, so a flow is made until it shows.
	Await(t, 10*time.Second, "conntrack -E", func() bool {
		_ = prepare("ping", "-c1", "-W1", "127.0.0.1").Run()
		return c.out.String() != ""
	})
	var err error
	if c.older, err = prepare("conntrack", "-L", "-o", "id").Output(); err != nil {
		t.Fatalf("conntrack -L: %v", err)
	}
	return c
}

var (
	field    = regexp.MustCompile(`(\w+)=(\S+)`)
	entryIDs = regexp.MustCompile(`\bid=(\d+)`)
	stamp    = regexp.MustCompile(`^\[(\d+)\.(\d+)\s*\]`)
)

// Ended reports whether conntrack told that an entry is gone whose first packet came from
// that port.
func (c *Tracker) Ended(protocol string, port uint16) bool {
	for line := range strings.Lines(c.out.String()) {
		_, entry, gone := strings.Cut(line, "[DESTROY]")
		words := strings.Fields(entry)
		if !gone || len(words) == 0 || words[0] != protocol {
			continue
		}
		if _, ports, ok := strings.Cut(entry, " sport="); ok && strings.HasPrefix(ports, strconv.Itoa(int(port))+" ") {
			return true
		}
	}
	return false
}

// Stop ends it and returns the entries, in the order in which they were made.
func (c *Tracker) Stop(t testing.TB) []Entry {
	t.Helper()
	labtest.Idle(t, c.cmd.Process.Pid)
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // it has no good status to end with
	if said := c.said.String(); strings.Contains(said, "ENOBUFS") {
		t.Fatalf("the oracle lost events: %s", said)
	}
	var all []Entry
	for line := range strings.Lines(string(c.older)) {
		all = append(all, parseEntry(t, line))
	}
	for line := range strings.Lines(c.out.String()) {
		m := stamp.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seconds, _ := strconv.ParseInt(m[1], 10, 64)
		micros, _ := strconv.ParseInt(m[2], 10, 64)
		at := seconds*int64(time.Second) + micros*int64(time.Microsecond)
		what := strings.TrimSpace(line[len(m[0]):])
		if gone, ended := strings.CutPrefix(what, "[DESTROY]"); ended {
			endOf(all, parseEntry(t, gone).ID, at)
			continue
		}
		e := parseEntry(t, strings.TrimPrefix(what, "[NEW]"))
		e.Time = at
		all = append(all, e)
	}
	return all
}

// endOf notes that the newest entry with that id was gone.
func endOf(all []Entry, id uint64, at int64) {
	for i := len(all) - 1; i >= 0; i-- {
		if e := &all[i]; e.ID == id && e.Ended == 0 {
			e.Ended = at
			return
		}
	}
}

// Entries reads what conntrack -L -o id printed.
func Entries(t testing.TB, printed string) (all []Entry) {
	t.Helper()
	for line := range strings.Lines(printed) {
		if strings.Contains(line, "src=") {
			all = append(all, parseEntry(t, strings.TrimSpace(line)))
		}
	}
	return all
}

// parseEntry reads "icmp 1 30 src=…".
func parseEntry(t testing.TB, line string) (e Entry) {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 3 {
		t.Fatalf("conntrack printed %q", line)
	}
	e.Protocol = words[0]
	side := -1
	for _, m := range field.FindAllStringSubmatch(line, -1) {
		key, value := m[1], m[2]
		if key == "src" {
			side++
		}
		if side > 1 {
			break
		}
		pair := &e.Original
		if side == 1 {
			pair = &e.Reply
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
	if len(ids) == 0 {
		t.Fatalf("conntrack printed %q", line)
	}
	for i, m := range ids {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			t.Fatalf("conntrack printed %q", line)
		}
		if e.ID = n; i < len(ids)-1 {
			e.ICMP[i] = int(n)
		}
	}
	return e
}
