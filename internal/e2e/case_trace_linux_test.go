package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// ruleOf is a rule that a journey met by the kernel's trace.
type ruleOf struct {
	Namespace, Hook, Chain, Text, Verdict, Target, Evidence string
	Policy                                                  bool
}

// traced is what the tests of --trace read of a journey.
type traced struct {
	Protocol string
	Hops     []struct{ Destination struct{ Port uint16 } }
	To       struct{ Port uint16 }
	Verdict  struct {
		Result, By, Evidence string
		Rule                 *ruleOf
	}
	Rules        []ruleOf
	Translations []struct {
		Kind string
		Rule *ruleOf
	}
}

// tracedJourneys ends a watch and reads what it wrote.
func tracedJourneys(t *testing.T, w *watch) (all []traced) {
	t.Helper()
	w.journeys() // holds them against the schema
	for line := range bytes.Lines([]byte(w.stdout.String())) {
		var j traced
		if bytes.Contains(line, []byte(`"kind":"journey"`)) {
			decode(t, line, &j)
		}
		if j.Protocol == "udp" {
			all = append(all, j)
		}
	}
	return all
}

// TestCaseTrace lets a rule of the user's drop, Docker's own rules translate and
// the host's OUTPUT refuse packets. What natlens says of the rules is compared with
// iptables-save and the rules' own counters.
func TestCaseTrace(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "-p", "5000:5000/udp", "box")
	for _, rule := range []string{
		"-I DOCKER-USER -p udp --dport 99 -j DROP",
		"-A OUTPUT -p udp --dport 98 -j DROP",
		"-A INPUT -p udp --dport 97 -j REJECT",
	} {
		must(t, e.Command("iptables", strings.Fields(rule)...))
	}
	w := startWatch(t, e, "--trace", "--json", "-n")
	if said := w.stderr.String(); !strings.Contains(said, "inet natlens_trace_") {
		t.Errorf("what is written is not said:\n%s", said)
	}
	must(t, e.Command("iptables", "-Z"))
	send := inContainer(e, "back")
	for _, to := range []string{"198.51.100.7/99", "198.51.100.7/7", "172.17.0.1/97"} {
		must(t, send("bash", "-c", "echo x >/dev/udp/"+to))
	}
	_ = e.Command("bash", "-c", "echo x >/dev/udp/198.51.100.7/98").Run() // a drop at OUTPUT is EPERM to its program
	must(t, e.CommandOutside("bash", "-c", "echo x >/dev/udp/192.0.2.10/5000"))
	await(t, 20*time.Second, "five journeys", func() bool {
		out := w.stdout.String()
		for _, port := range []string{"99", "7", "97", "98", "5000"} {
			if !strings.Contains(out, `"port":`+port+`}`) {
				return false
			}
		}
		return true
	})
	counted, err := e.Command("iptables-save", "-c", "-t", "filter").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := tracedJourneys(t, w)
	find := func(port uint16) *traced {
		t.Helper()
		i := slices.IndexFunc(all, func(j traced) bool {
			return j.To.Port == port || len(j.Hops) > 0 && j.Hops[0].Destination.Port == port
		})
		if i < 0 {
			t.Fatalf("no journey to port %d", port)
		}
		return &all[i]
	}
	for _, c := range []struct {
		port       uint16
		hook, rule string
		seen       bool // by any tap
	}{
		{99, "forward", "-A DOCKER-USER -p udp -m udp --dport 99 -j DROP", true},
		{98, "output", "-A OUTPUT -p udp -m udp --dport 98 -j DROP", false},
		{97, "input", "-A INPUT -p udp -m udp --dport 97 -j REJECT --reject-with icmp-port-unreachable", true},
	} {
		j := find(c.port)
		if !strings.Contains(string(counted), "] "+c.rule+"\n") {
			t.Fatalf("iptables-save has no %s", c.rule)
		}
		if v := j.Verdict; v.Result != "dropped" || v.Evidence != "trace" || v.Rule == nil || v.Rule.Text != c.rule || (len(j.Hops) > 0) != c.seen {
			t.Errorf("port %d: %d hops, %+v by %+v", c.port, len(j.Hops), v, v.Rule)
		}
		if len(j.Rules) == 0 {
			t.Fatalf("port %d: no rules", c.port)
		}
		last := j.Rules[len(j.Rules)-1]
		if last.Text != c.rule || last.Verdict != "drop" || last.Hook != c.hook || last.Evidence != "trace" || last.Namespace != "host" {
			t.Errorf("port %d: ends at %+v", c.port, last)
		}
	}
	for port, kind := range map[uint16]string{7: "masquerade", 5000: "dnat"} {
		j := find(port)
		if len(j.Translations) != 1 || j.Translations[0].Kind != kind || j.Translations[0].Rule == nil || j.Translations[0].Rule.Evidence != "trace" {
			t.Errorf("port %d: %+v", port, j.Translations)
			continue
		}
		text := j.Translations[0].Rule.Text
		if !slices.ContainsFunc(j.Rules, func(r ruleOf) bool { return r.Text == text && r.Verdict == "accept" && r.Evidence == "trace" }) {
			t.Errorf("port %d: %s is not in its walk %+v", port, text, j.Rules)
		}
	}
	// A rule that the packets of this test met has counted them.
	counters := map[string]bool{}
	for line := range strings.Lines(string(counted)) {
		if counter, text, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(text, "-A ") {
			counters[text] = counter[:3] != "[0:"
		}
	}
	walked := 0
	for _, j := range all {
		for _, r := range j.Rules {
			if hit, known := counters[r.Text]; known && r.Namespace == "host" {
				walked++
				if !hit {
					t.Errorf("%s is in a walk and has counted nothing", r.Text)
				}
			}
		}
	}
	if walked < 10 {
		t.Errorf("%d rules of filter in all walks: these are not all", walked)
	}
}

// TestCaseTraceLeavesNothing ends natlens in each way there is, and compares all
// rules and the loggers before and after.
func TestCaseTraceLeavesNothing(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "box")
	rules := func() (all string) {
		t.Helper()
		for _, command := range []func(string, ...string) *exec.Cmd{e.Command, inContainer(e, "back")} {
			for _, line := range []string{"nft -s list ruleset", "cat /proc/net/netfilter/nf_log"} {
				words := strings.Fields(line)
				out, err := command(words[0], words[1:]...).Output()
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				all += string(out)
			}
		}
		return all
	}
	must(t, inContainer(e, "back")("iptables-legacy", "-w", "-A", "INPUT", "-p", "icmp", "-j", "ACCEPT"))
	must(t, inContainer(e, "back")("ip6tables-legacy", "-w", "-A", "INPUT", "-p", "ipv6-icmp", "-j", "ACCEPT"))
	before := rules()
	for name, signal := range map[string]os.Signal{"interrupted": os.Interrupt, "terminated": syscall.SIGTERM, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			w := startWatch(t, e, "--trace")
			if n := strings.Count(rules(), "table inet natlens_trace_"); n != 2 {
				t.Errorf("%d tables, want one in each of two namespaces", n)
			}
			if meanwhile := rules(); !strings.Contains(meanwhile, " 2 nfnetlink_log") || !strings.Contains(meanwhile, "10 nfnetlink_log") ||
				!strings.Contains(w.stderr.String(), "nf_log.2") {
				t.Errorf("rules of iptables-legacy are not traced, or it is not said:\n%s\n%s", w.stderr.String(), meanwhile)
			}
			if err := w.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = w.cmd.Wait()
			await(t, 20*time.Second, "all to be as before", func() bool { return rules() == before })
		})
	}
}

// TestCaseTraceKilledWithItsWatchdog kills natlens and the process that would put the
// loggers back, as docker rm -f does. The next natlens says so, with the command that
// doctor finds to help; the first one has said it before.
func TestCaseTraceKilledWithItsWatchdog(t *testing.T) {
	e := engine.Start(t)
	must(t, e.Command("iptables-legacy", "-w", "-A", "INPUT", "-p", "icmp", "-j", "ACCEPT"))
	loggers := func() string {
		t.Helper()
		out, err := e.Command("cat", "/proc/sys/net/netfilter/nf_log/2", "/proc/sys/net/netfilter/nf_log/10").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	said := func(printed string) string { return strings.Join(strings.Fields(printed), " ") }
	before := loggers()
	w := startWatch(t, e, "--trace")
	_, rest, _ := strings.Cut(said(w.stderr.String()), "they stay so: sysctl -w ")
	putBack, _, _ := strings.Cut(rest, " puts them back")
	if !strings.HasPrefix(putBack, "net.netfilter.nf_log.2=") {
		t.Fatalf("it is not said how to put them back:\n%s", w.stderr.String())
	}
	var killed []*os.Process
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", w.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range threads {
		children, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // that thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(children)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			watchdog, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			killed = append(killed, watchdog)
		}
	}
	if len(killed) == 0 {
		t.Fatal("there is no watchdog")
	}
	for _, p := range append(killed, w.cmd.Process) {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.cmd.Wait()
	const left = "nfnetlink_log\nnfnetlink_log\n"
	if now := loggers(); now != left {
		t.Fatalf("the loggers are %q: somebody put them back", now)
	}
	const says = "net.netfilter.nf_log.2 and net.netfilter.nf_log.10 is nfnetlink_log"
	if printed, _, _ := finish(t, e.Command(natlens, "doctor")); !strings.Contains(said(printed), says) {
		t.Errorf("doctor does not say what is left:\n%s", printed)
	}
	w = startWatch(t, e, "--trace")
	if !strings.Contains(said(w.stderr.String()), says) {
		t.Errorf("the next watch does not say what is left:\n%s", w.stderr.String())
	}
	w.end()
	must(t, e.Command("sysctl", append([]string{"-w"}, strings.Fields(putBack)...)...))
	if now := loggers(); now != before {
		t.Errorf("%s makes them %q, they were %q", putBack, now, before)
	}
	if printed, _, _ := finish(t, e.Command(natlens, "doctor")); strings.Contains(said(printed), says) {
		t.Errorf("doctor finds something left:\n%s", printed)
	}
}
