package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// kept is what the kernel keeps of a flow beside its tuples, by conntrack -L.
type kept struct {
	state          string
	packets, bytes [2]uint64
	start          time.Time // to a second
}

var (
	keptCounters = regexp.MustCompile(`packets=(\d+) bytes=(\d+)`)
	keptStart    = regexp.MustCompile(`\[start=([^\]]+)\]`)
	keptID       = regexp.MustCompile(` id=(\d+)$`)
)

// listKept reads "ipv4 2 tcp 6 431999 ESTABLISHED src=…".
func listKept(t *testing.T, e *engine.Engine) map[uint64]kept {
	t.Helper()
	out, err := e.Command("conntrack", "-L", "-o", "extended,id,ktimestamp").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[uint64]kept{}
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for line := range strings.Lines(string(out)) {
		id, counters := keptID.FindStringSubmatch(strings.TrimSpace(line)), keptCounters.FindAllStringSubmatch(line, -1)
		if id == nil || len(counters) != 2 {
			continue
		}
		var k kept
		if words := strings.Fields(line); words[2] == "tcp" {
			k.state = words[5]
		}
		for i, c := range counters {
			k.packets[i], k.bytes[i] = number(c[1]), number(c[2])
		}
		if start := keptStart.FindStringSubmatch(line); start != nil {
			if k.start, err = time.ParseInLocation(time.ANSIC, start[1], time.Local); err != nil {
				t.Fatal(err)
			}
		}
		all[number(id[1])] = k
	}
	return all
}

// keeps has the kernel keep times and counters of the flows that begin during a test,
// with value 1, or not, with 0.
func keeps(t *testing.T, e *engine.Engine, value string) {
	t.Helper()
	for _, name := range []string{"nf_conntrack_acct", "nf_conntrack_timestamp"} {
		path := "/proc/sys/net/netfilter/" + name
		var before []byte
		if err := e.Host().Do(func() (err error) {
			if before, err = os.ReadFile(path); err != nil {
				return err
			}
			return os.WriteFile(path, []byte(value), 0)
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.Host().Do(func() error { return os.WriteFile(path, before, 0) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFlowsHaveWhatTheKernelKeeps compares state, counters and time of birth of each
// flow with conntrack's, and the age in words with both.
func TestFlowsHaveWhatTheKernelKeeps(t *testing.T) {
	e := engine.Shared(t)
	keeps(t, e, "1")
	out, _ := conversations(t, e)
	if _, err := out.Write([]byte("something to count")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // so that there is an age
	before := listKept(t, e)
	printed, said, status := finish(t, e.Command(natlens, "flows", "--json", "--all"))
	after := listKept(t, e)
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	states, withData := map[string]int{}, false
	for _, f := range flowsTold(t, printed) {
		b, was := before[f.ID]
		a, is := after[f.ID]
		if f.Namespace != "host" || !was || !is || b.start.IsZero() {
			continue
		}
		if f.Counters == nil {
			t.Errorf("flow %d: no counters, conntrack has %+v", f.ID, a)
			continue
		}
		packets, bytes := [2]uint64{f.Counters.Original.Packets, f.Counters.Reply.Packets}, [2]uint64{f.Counters.Original.Bytes, f.Counters.Reply.Bytes}
		for i := range packets {
			if packets[i] < b.packets[i] || packets[i] > a.packets[i] || bytes[i] < b.bytes[i] || bytes[i] > a.bytes[i] {
				t.Errorf("flow %d: %d packets, %d bytes; conntrack has %+v, then %+v", f.ID, packets[i], bytes[i], b, a)
			}
		}
		if f.TCPState != b.state && f.TCPState != a.state {
			t.Errorf("flow %d is %q; conntrack has %q, then %q", f.ID, f.TCPState, b.state, a.state)
		}
		start, err := time.Parse(time.RFC3339Nano, f.Start)
		if err != nil || !start.Truncate(time.Second).Equal(b.start) {
			t.Errorf("flow %d began at %s; conntrack has %v", f.ID, f.Start, b.start)
		}
		states[f.TCPState]++
		withData = withData || bytes[0] > 100
	}
	if states["ESTABLISHED"] < 2 || !withData {
		t.Errorf("states %v, data %v: the test shows less than it should", states, withData)
	}
	asked := time.Now()
	card, said, _ := finish(t, e.Command(natlens, "flows", fmt.Sprintf("%v:%d", hostAddress, out.LocalAddr().(*net.TCPAddr).Port)))
	answered := time.Now()
	m := regexp.MustCompile(`ESTABLISHED  for (\d+)s`).FindStringSubmatch(card)
	if m == nil {
		t.Fatalf("it has no age:\n%s", card)
	}
	age, _ := strconv.Atoi(m[1])
	var ages [][2]int // at least and at most: conntrack tells seconds of the clock
	for _, k := range after {
		ages = append(ages, [2]int{int(asked.Sub(k.start).Seconds()) - 1, int(answered.Sub(k.start).Seconds())})
	}
	if !slices.ContainsFunc(ages, func(a [2]int) bool { return a[0] <= age && age <= a[1] }) || age < 2 {
		t.Errorf("an age of %d s; by conntrack they have %v\n%s", age, ages, card)
	}
	if !strings.Contains(card, " packets, ") || strings.Contains(said, "sysctl") {
		t.Errorf("counters in\n%s%s", card, said)
	}
}

// TestFlowsSayWhatTheKernelDoesNotKeep: where age and counters are off, which they are
// by default, the settings are named, and nothing is made up.
func TestFlowsSayWhatTheKernelDoesNotKeep(t *testing.T) {
	e := engine.Shared(t)
	keeps(t, e, "0")
	out, _ := conversations(t, e)
	card, said, status := finish(t, e.Command(natlens, "flows", fmt.Sprintf("%v:%d", hostAddress, out.LocalAddr().(*net.TCPAddr).Port)))
	if status != 0 || strings.Contains(card, " for ") || strings.Contains(card, "packet") || !strings.Contains(card, "ESTABLISHED") {
		t.Errorf("status %d:\n%s", status, card)
	}
	const want = "not known: age of 1, packets and bytes of 1; the kernel keeps that for flows that begin after " +
		"sysctl -w net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_acct=1"
	if !strings.Contains(strings.Join(strings.Fields(said), " "), want) {
		t.Errorf("said is %q, want %q", said, want)
	}
	narrow(t, card+said)
}

// narrow fails where a line has more than 80 columns; no character here takes two.
func narrow(t *testing.T, printed string) {
	t.Helper()
	for line := range strings.Lines(printed) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// TestFlowsOfNoEnd: for an address and port that nothing is behind, it is said whether
// the port is published and where natlens looked.
func TestFlowsOfNoEnd(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "published", "-p", "8123:80", "box", "sleep", "1000000")
	for end, want := range map[string]string{
		hostAddress.String() + ":8123": "192.0.2.10:8123 is published for published, port 80, and no flow comes through it in the tables of host, ",
		hostAddress.String() + ":9":    "no flow has an end at 192.0.2.10:9 in the tables of host, ",
	} {
		printed, said, status := finish(t, e.Command(natlens, "flows", end))
		words := strings.Join(strings.Fields(said), " ")
		if printed != "" || status != 0 || !strings.Contains(words, want) || !strings.Contains(words, "published. What has ended is not in them: -f follows what comes") {
			t.Errorf("natlens flows %s: status %d, want %q:\n%s%s", end, status, want, printed, said)
		}
		narrow(t, said)
	}
}

// TestFlowsChange follows a connection through its states, until conntrack forgets it.
// Each line has the time at which that was.
func TestFlowsChange(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box", "sleep", "1000000")
	server, err := lab.ListenTCP(e.Internet(), netip.AddrPortFrom(internet, 81))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	cmd := e.Command(natlens, "flows", "-f", "tcp", "and", "port", "81")
	out, said := &safeBuffer{}, &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	await(t, 20*time.Second, "the table", func() bool { return strings.Contains(said.String(), "flows shown") })
	begin := time.Now()
	c, err := lab.DialTCP(t.Context(), e.Namespace("back"), netip.AddrPort{}, netip.AddrPortFrom(internet, 81))
	if err != nil {
		t.Fatal(err)
	}
	await(t, 20*time.Second, "its state", func() bool { return strings.Contains(out.String(), "ESTABLISHED") })
	peer, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Close(), peer.Close()
	await(t, 20*time.Second, "its last state", func() bool { return strings.Contains(out.String(), "TIME_WAIT") })
	must(t, e.Command("conntrack", "-D", "-p", "tcp", "--dport", "81"))
	await(t, 20*time.Second, "its end", func() bool { return strings.Contains(out.String(), " ended ") })
	end := time.Now()
	var words []string
	line := regexp.MustCompile(`(?m)^(\d\d:\d\d:\d\d\.\d{6}) (new|changed|ended) +tcp +back:\d+ → \S+:81\s+([A-Z_]+)`)
	last := ""
	for _, m := range line.FindAllStringSubmatch(out.String(), -1) {
		words = append(words, m[2]+" "+m[3])
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000000", begin.Format("2006-01-02 ")+m[1], time.Local)
		if err != nil || at.Before(begin.Truncate(time.Microsecond)) || at.After(end) || m[1] < last {
			t.Errorf("%s is not between %v and %v, behind %s", m[0], begin, end, last)
		}
		last = m[1]
	}
	want := []string{"new SYN_SENT", "changed ESTABLISHED", "changed TIME_WAIT", "ended TIME_WAIT"}
	for _, w := range want {
		if !slices.Contains(words, w) {
			t.Errorf("%q is not told: %q in\n%s", w, words, out)
		}
	}
	if len(words) == 0 || words[0] != want[0] || words[len(words)-1] != want[3] {
		t.Errorf("told in the order %q", words)
	}
	if strings.Contains(out.String(), " for less than") {
		t.Errorf("that it began just now is said of what has a time:\n%s", out)
	}
	narrow(t, out.String()+said.String())
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("natlens flows -f: %v: %s", err, said)
	}
}
