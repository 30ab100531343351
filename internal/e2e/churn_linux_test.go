package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

var long = flag.Bool("long", false, "start 200 containers instead of 48")

// holdings is what a process has that must not grow.
type holdings struct {
	descriptors, threads, rings, resident int // resident in KiB
}

func heldBy(t *testing.T, pid int) (h holdings) {
	t.Helper()
	list := func(folder string) []os.DirEntry {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, folder))
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	file := func(name string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	h.threads = len(list("task"))
	for _, entry := range list("fd") {
		// A namespace takes it itself, two sockets and sometimes a process's descriptor.
		// The machine may have more of them now that have nothing to do with this test.
		switch to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, entry.Name())); {
		case strings.HasPrefix(to, "net:["), strings.Contains(to, "/netns/"):
			h.descriptors -= 2
		case !strings.Contains(to, "pidfd"):
			h.descriptors++
		}
	}
	h.rings = strings.Count(file("maps"), "socket:")
	for line := range strings.Lines(file("status")) {
		if words := strings.Fields(line); words[0] == "VmRSS:" {
			h.resident, _ = strconv.Atoi(words[1])
		}
	}
	return h
}

// within reports whether nothing is more than it was, but for what a program may
// keep to use again: connections to the engine, threads that wait for work, memory
// that was freed.
func (h holdings) within(was holdings) bool {
	const connections, threads, memory = 2, 10, 32 << 10
	return h.rings <= was.rings && h.descriptors <= was.descriptors+connections &&
		h.threads <= was.threads+threads && h.resident <= was.resident+memory
}

// flood pings from the container to the internet as fast as answers come, but for
// a moment's rest, until the test ends. It returns how often.
func flood(t *testing.T, e *engine.Engine, container string) *atomic.Int64 {
	t.Helper()
	in := e.Namespace(container)
	var answered atomic.Int64
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for seq := uint16(0); ctx.Err() == nil; seq++ {
			if _, err := lab.Ping(ctx, in, internet, lab.Echo{ID: 4500, Seq: seq, Payload: []byte("flood")}); err == nil {
				answered.Add(1)
			}
			time.Sleep(500 * time.Microsecond) // the engine has work, too
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return &answered
}

// TestNetworkChurn starts and removes containers, several at once, while another
// pings without end, and looks at the first packet of each: the host's hops are
// always there, the container's own nearly always, and where it is not, that is
// said. What a watch holds is afterwards what it was before.
func TestNetworkChurn(t *testing.T) {
	const lanes, size = 4, 300
	// A busy machine gives the watch less time than it gives the engine.
	starts, ownHop := 48, 0.8
	if *long {
		starts, ownHop = 200, 0.95
	}
	e := engine.Shared(t)
	e.Run("--name", "flooder", "box")
	answered := flood(t, e, "flooder")
	// The size of a ping says whose it is.
	w := startWatch(t, e, "--json", "--events", "icmp", "and", "greater", strconv.Itoa(size))
	once := func(name string, size int) {
		out, err := e.Command("docker", "run", "--rm", "--name", name, "box",
			"ping", "-q", "-c", "2", "-i", "0.2", "-W", "2", "-s", strconv.Itoa(size), internet.String()).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	went := func(name string) {
		t.Helper()
		await(t, 30*time.Second, name+" to go", func() bool { return slices.Contains(namesOf(w.events(), "container", "went"), name) })
	}
	once("churn0", size)
	went("churn0")
	before := heldBy(t, w.cmd.Process.Pid)

	begun, next := time.Now(), atomic.Int64{}
	var work sync.WaitGroup
	for range lanes {
		work.Go(func() {
			for n := int(next.Add(1)); n <= starts; n = int(next.Add(1)) {
				once(fmt.Sprintf("churn%d", n), size+n)
			}
		})
	}
	work.Wait()
	took := time.Since(begun)
	for n := range starts {
		went(fmt.Sprintf("churn%d", n+1))
	}
	after := heldBy(t, w.cmd.Process.Pid)
	for end := time.Now().Add(30 * time.Second); !after.within(before) && time.Now().Before(end); after = heldBy(t, w.cmd.Process.Pid) {
		time.Sleep(100 * time.Millisecond)
	}
	if !after.within(before) {
		t.Errorf("the watch holds %+v, before it was %+v", after, before)
	}
	events := w.events()
	all, sum := w.journeys()
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted != 0 {
		t.Errorf("lost: %+v", sum)
	}

	own, named := 0, 0
	for n := 1; n <= starts; n++ {
		name := fmt.Sprintf("churn%d", n)
		for _, action := range []string{"came", "went"} {
			if !slices.Contains(namesOf(events, "container", action), name) {
				t.Errorf("no event says that %s %s", name, action)
			}
		}
		pings := with(all, func(j *journey) bool {
			return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 && j.Hops[0].Length == size+n+28
		})
		if len(pings) != 2 {
			t.Errorf("%s pinged twice; there are %d journeys", name, len(pings))
			continue
		}
		for i, j := range pings {
			path := vethNamed(shape(j))
			missed := path == "host:VETH in, host:docker0 in, host:eth0 out"
			// A container that was gone before its links were looked at has no names of them.
			unnamed := unnamedLink.MatchString(path)
			path = unnamedLink.ReplaceAllString(path, "$1:eth0 ")
			switch {
			case !missed && path != name+":eth0 out, host:VETH in, host:docker0 in, host:eth0 out":
				t.Errorf("%s: %s", name, path)
			case missed && !strings.Contains(noteOf(j), "container side not watched yet"):
				t.Errorf("%s: %s: the notes don't say what is missing: %q", name, path, noteOf(j))
			case !missed && !unnamed && i == 0:
				own++
			}
			if same(t, "who pinged", j.From.Name, name); j.From.Name == name {
				named++
			}
		}
	}
	t.Logf("%d containers in %v beside %d pings: %d of the first packets with the container's own hop, %d of %d packets named; held %+v, then %+v",
		starts, took.Round(time.Millisecond), answered.Load(), own, named, 2*starts, before, after)
	if float64(own) < ownHop*float64(starts) {
		t.Errorf("the container's own hop is there for %d of %d", own, starts)
	}
}

// unnamedLink is the own hop of a container, at a link of which only the index is known.
var unnamedLink = regexp.MustCompile(`^(churn\d+):if\d+ `)

func namesOf(events []event, object, action string) (names []string) {
	for _, ev := range events {
		if ev.Object == object && ev.Action == action {
			names = append(names, ev.Name)
		}
	}
	return names
}
