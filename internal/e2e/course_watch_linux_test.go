package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// keepPinging keeps a ping going until the test ends: one from the container every
// 20 ms, to the address.
func keepPinging(t *testing.T, e *engine.Engine, container string, to netip.Addr) {
	t.Helper()
	in := e.Namespace(container)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for seq := uint16(1); ctx.Err() == nil; seq++ {
			// What is refused or cut off by the end is not this test's matter.
			_, _ = lab.Ping(ctx, in, to, lab.Echo{ID: 4000, Seq: seq, Payload: []byte(container)})
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
}

// within ends a command that doesn't by itself, and fails the test then.
func within(t *testing.T, atMost time.Duration, cmd *exec.Cmd) {
	t.Helper()
	timer := time.AfterFunc(atMost, func() {
		t.Errorf("%v does not end within %v", cmd.Args, atMost)
		_ = cmd.Process.Kill()
	})
	t.Cleanup(func() { timer.Stop() })
}

// read reads the lines that a watch printed.
func read(t *testing.T, out string) (all []journey, last summary) {
	t.Helper()
	for line := range strings.Lines(out) {
		var kind struct{ Kind string }
		decode(t, []byte(line), &kind)
		switch kind.Kind {
		case "journey":
			var j journey
			decode(t, []byte(line), &j)
			all = append(all, j)
		case "summary":
			decode(t, []byte(line), &last)
		}
	}
	return all, last
}

var accountLast = regexp.MustCompile(`Ctrl-C ends\. \d+ (of \d+ )?journeys.* unpaired \d+$`)

func isProgram(pid int, path string) bool {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && name == path
}

func hasSocket(pid int) bool {
	descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(descriptors, func(path string) bool {
		name, err := os.Readlink(path)
		return err == nil && strings.HasPrefix(name, "socket:")
	})
}

func TestWatchEndsByItself(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	keepPinging(t, e, "back", internet)

	t.Run("count", func(t *testing.T) {
		cmd := e.Command(natlens, "watch", "--json", "-c", "7", "icmp")
		begun := time.Now()
		out, words, status := finish(t, cmd)
		all, last := read(t, out)
		if status != 0 || len(all) != 7 || last.Kind != "summary" {
			t.Errorf("-c 7: status %d, %d journeys, summary %q\n%s", status, len(all), last.Kind, words)
		}
		if d := time.Since(begun); d > 20*time.Second {
			t.Errorf("-c 7 took %v", d)
		}
	})
	t.Run("duration", func(t *testing.T) {
		begun := time.Now()
		out, words, status := finish(t, e.Command(natlens, "watch", "--json", "--duration", "1s", "icmp"))
		all, last := read(t, out)
		if status != 0 || len(all) == 0 || last.Kind != "summary" {
			t.Errorf("--duration: status %d, %d journeys, summary %q\n%s", status, len(all), last.Kind, words)
		}
		if d := time.Since(begun); d < time.Second || d > 20*time.Second {
			t.Errorf("--duration 1s took %v", d)
		}
	})
	t.Run("interrupt", func(t *testing.T) {
		w := startWatch(t, e, "icmp")
		await(t, 10*time.Second, "a card", func() bool { return strings.Contains(w.stdout.String(), "echo reply") })
		w.end()
		said := w.stderr.String()
		says(t, "standard error", said, "watching host, back", "Ctrl-C ends.", "lost: ring 0, conntrack 0, queue 0")
		// It may take more than one line.
		if !accountLast.MatchString(strings.Join(strings.Fields(said), " ")) {
			t.Errorf("the summary does not come last:\n%s", said)
		}
		says(t, "standard output", w.stdout.String(), "NOT watching", "NOT lost:",
			"MASQUERADE", "172.17.0.0/16", "back eth0 out", "host eth0 out")
	})
	t.Run("interrupt at once", func(t *testing.T) {
		for _, wait := range []time.Duration{0, 10, 30, 60, 100} {
			cmd := e.Command(natlens, "watch", "--json", "icmp")
			words := &safeBuffer{}
			cmd.Stderr = words
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Its first socket: it has begun, and listens to signals.
			await(t, 10*time.Second, "natlens to begin", func() bool { return isProgram(cmd.Process.Pid, natlens) && hasSocket(cmd.Process.Pid) })
			time.Sleep(wait * time.Millisecond)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			within(t, 20*time.Second, cmd)
			if err := cmd.Wait(); err != nil {
				t.Errorf("after %d ms: %v\n%s", wait, err, words.String())
			}
		}
	})
	t.Run("terminated", func(t *testing.T) {
		w := startWatch(t, e, "--json", "icmp")
		w.awaitJourneys(1)
		if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, w.stderr.String())
		}
		if _, last := read(t, w.stdout.String()); last.Kind != "summary" {
			t.Error("no summary")
		}
	})
	t.Run("closed pipe", func(t *testing.T) {
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var words safeBuffer
		cmd := e.Command(natlens, "watch", "--json", "icmp")
		cmd.Stdout, cmd.Stderr = out, &words
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		within(t, 20*time.Second, cmd)
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("| head: %v\n%s", err, words.String())
		}
		if said := strings.TrimSpace(words.String()); strings.Contains(said, "pipe") || strings.Contains(said, "natlens:") {
			t.Errorf("| head: not quiet:\n%s", said)
		}
	})
}

// A shell's own pipe, for the whole of what a person types.
func TestWatchIntoHead(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	keepPinging(t, e, "back", internet)
	cmd := e.Command("bash", "-c", `"$0" watch -q icmp | head -n 3; echo "${PIPESTATUS[*]}"`, natlens)
	out, words, _ := finish(t, cmd)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 4 || lines[3] != "0 0" {
		t.Errorf("%q, want three lines and status 0 0\n%s", out, words)
	}
}

func TestWatchPicksByContainerAndLink(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	e.Run("--name", "ubuntu", "box")
	in := map[string]*load{}
	both := func(w *watch) []journey {
		t.Helper()
		for i, name := range []string{"back", "ubuntu"} {
			in[name] = &load{t: t, e: e}
			in[name].pings(e.Namespace(name), internet, uint16(4100+i), 3)
		}
		time.Sleep(300 * time.Millisecond)
		all, _ := w.journeys()
		return all
	}
	address := ipOf(t, e, "back", "bridge").String()
	for _, args := range [][]string{
		{"--container", "back"},
		{"-i", "back:eth0"},
		{"container", "back"},
		{"back"},
		{inspect(t, e, "back").ID[:12]},
		{"--container", inspect(t, e, "back").ID[:12]},
		{"host", address},
		{"icmp", "and", "src", "or", "dst", address},
		{"not", "(", "container", "ubuntu", ")", "and", "icmp"},
	} {
		all := both(startWatch(t, e, append([]string{"--json"}, args...)...))
		same(t, strings.Join(args, " ")+": asked", len(echoes(all, 8, 4100)), 3)
		same(t, strings.Join(args, " ")+": answered", len(echoes(all, 0, 4100)), 3)
		same(t, strings.Join(args, " ")+": others", len(echoes(all, 8, 4101))+len(echoes(all, 0, 4101)), 0)
	}
	// What back's packets look like outside, and what they do not.
	all := both(startWatch(t, e, "--json", "-i", "eth0", "src", "host", hostAddress.String()))
	same(t, "seen on the uplink", len(echoes(all, 8, 4100))+len(echoes(all, 8, 4101)), 6)
	// eth0 is the host's, as for tcpdump, not each container's.
	w := startWatch(t, e, "--json", "-i", "eth0", "icmp")
	(&load{t: t, e: e}).pings(e.Namespace("ubuntu"), ipOf(t, e, "back", "bridge"), 4102, 3)
	same(t, "not seen on the uplink", len(echoes(both(w), 8, 4102)), 0)
	all = both(startWatch(t, e, "--json", "tcp"))
	same(t, "pings that are TCP", len(all), 0)
	w = startWatch(t, e, "--container", "later", "-i", "eth7")
	w.end()
	says(t, "standard error", w.stderr.String(), `no container "later" yet`, `no link "eth7" yet`)
}

func TestWatchPointsAtTheMistake(t *testing.T) {
	e := engine.Shared(t)
	for filter, place := range map[string]string{
		"icmp and prot 53":  "53", // prot may be a container
		"tcp and (port 80":  "(",
		"host 300.1.2.3":    "300.1.2.3",
		"port 80 or":        "",
		"container":         "",
		"udp port seventy7": "seventy7",
	} {
		out, words, status := finish(t, e.Command(natlens, "watch", filter))
		if status != 2 || out != "" {
			t.Errorf("%q: status %d, %q; want 2 and nothing", filter, status, out)
		}
		lines := strings.Split(words, "\n")
		at := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, "^") })
		if at < 1 || !strings.Contains(lines[at-1], filter) {
			t.Errorf("%q: nothing points at the place:\n%s", filter, words)
			continue
		}
		// Nothing in these lines is wider than a column.
		begin := strings.Index(lines[at-1], filter)
		column := strings.Index(lines[at], "^") - begin
		if want := strings.Index(filter, place); place != "" && column != want || place == "" && column < len(filter)-len("container") {
			t.Errorf("%q: points at column %d:\n%s", filter, column, words)
		}
	}
	for _, args := range [][]string{{"-c", "0"}, {"--duration", "-1s"}, {"-v", "-q"}, {"--nonsense"}} {
		_, words, status := finish(t, e.Command(natlens, append([]string{"watch"}, args...)...))
		if status != 2 || !strings.Contains(words, "natlens help watch") {
			t.Errorf("%v: status %d\n%s", args, status, words)
		}
	}
}

func TestWatchWithoutPrivileges(t *testing.T) {
	e := engine.Shared(t)
	// Where an ordinary user may read it.
	program := filepath.Join(t.TempDir(), "natlens")
	for _, dir := range []string{filepath.Dir(program), filepath.Dir(filepath.Dir(program))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	copyProgram(t, natlens, program)
	nobody := []string{"--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", program}
	as := func(args ...string) *exec.Cmd { return e.Command("setpriv", append(slices.Clone(nobody), args...)...) }

	out, words, status := finish(t, as("watch", "-c", "1", "icmp"))
	if status != 3 || out != "" {
		t.Errorf("status %d, %q; want 3 and nothing\n%s", status, out, words)
	}
	says(t, "message", words, "CAP_NET_RAW", "sudo "+program+" watch -c 1 icmp", "These work without", "natlens demo", "natlens doctor")
	same(t, "messages", strings.Count(words, "natlens: "), 1)

	// One capability of three is not enough, and the message says which lack.
	// Ambient capabilities are how a service gets its own (capabilities(7)).
	some := e.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", program, "watch")
	_, words, status = finish(t, some)
	same(t, "status with CAP_NET_RAW alone", status, 3)
	says(t, "message", words, "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "NOT CAP_NET_RAW")

	// A bad filter is wrong for everybody.
	_, _, status = finish(t, as("watch", "prot 53"))
	same(t, "status of a bad filter", status, 2)
	out, _, status = finish(t, as("list"))
	same(t, "status of list", status, 0)
	says(t, "list", out, "docker0", "eth0")
	out, _, status = finish(t, as("doctor"))
	same(t, "status of doctor", status, 3)
	says(t, "doctor", out, "CAP_NET_RAW", "watch")
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(w, r)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
}
