package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// What can't be FROM or TO is said at once and sends nothing; a name that nobody knows is
// unresolved; a link can be FROM; a probe waits as long as it is told, and no more when it
// is interrupted.
func TestProbeEnds(t *testing.T) {
	e := engine.Start(t)
	e.Network("back_net")
	e.Run("--name", "back", "--network", "back_net", "box")
	e.Run("--name", "database", "--network", "back_net", "--dns", internet.String(), "box") // nothing answers there
	t.Run("wrong usage", func(t *testing.T) {
		for _, c := range []struct{ from, to, says string }{
			{"back_net", "back", "natlens: probe: back_net: that is a network; FROM is a container, a link or host"},
			{"back", "back_net", "natlens: probe: back_net is a network; TO is a container, a name or an address"},
			{"bac", "database", "natlens: probe: nothing here is called \"bac\"; near matches:\n  back\n  back:eth0\n"},
		} {
			if out, errs, status := runProbe(t, e, c.from, c.to); status != 2 || !strings.Contains(errs, c.says) || strings.Contains(errs, "back_net\n") || len(out) > 0 {
				t.Errorf("%s %s: status %d\n%s%s", c.from, c.to, status, out, errs)
			}
		}
	})
	t.Run("unresolved", func(t *testing.T) {
		line, _, status := probe(t, e, "database", "server.example")
		if line.Result != "unresolved" || status != 1 || len(line.Queries) == 0 || line.Sent != nil {
			t.Errorf("%+v, status %d", line, status)
		}
	})
	t.Run("by a link", func(t *testing.T) {
		to := ipOf(t, e, "database", "back_net").String()
		for from, want := range map[string]string{bridgeOf(e, "back_net"): "reached", "back:eth0": "reached", "docker0": "unreachable"} {
			line, journeys, _ := probe(t, e, from, to)
			if line.Result != want || line.AsExpected == nil || !*line.AsExpected || want == "reached" && journeys[0].Hops[0].Interface != from[strings.Index(from, ":")+1:] {
				t.Errorf("from %s: %+v, want %s", from, line, want)
			}
		}
	})
	must(t, e.Command("iptables", "-I", "DOCKER-USER", "-d", "198.51.100.7", "-j", "DROP"))
	t.Run("timeout", func(t *testing.T) {
		for _, wait := range []time.Duration{100 * time.Millisecond, 4 * time.Second} {
			began := time.Now()
			line, _, _ := probe(t, e, "--timeout", wait.String(), "back", "198.51.100.7:80")
			if took := time.Since(began); line.Answer != "silent" || took < wait || took > wait+time.Minute {
				t.Errorf("--timeout %v: %s after %v", wait, line.Answer, took)
			}
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		cmd := e.Command(natlens, "probe", "--timeout", "2m", "back", "198.51.100.7")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		await(t, 30*time.Second, "a probe is under way", func() bool {
			out, err := e.Command("iptables", "-vnxL", "DOCKER-USER").Output()
			return err == nil && counted(out) > 2 // those before sent one each
		})
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			exit, ok := err.(*exec.ExitError) //nolint:errorlint // Wait does not wrap
			if !ok || exit.ExitCode() != 4 || !strings.Contains(errs.String(), "natlens: interrupted") {
				t.Errorf("%v: %s", err, errs.String())
			}
		case <-time.After(time.Minute):
			t.Error("it goes on")
			_ = cmd.Process.Kill()
		}
	})
}

// counted is how many packets the first rule of a listing has counted.
func counted(listing []byte) int {
	lines := strings.Split(string(listing), "\n")
	if len(lines) < 3 {
		return 0
	}
	n := 0
	for _, digit := range strings.Fields(lines[2])[0] {
		n = n*10 + int(digit-'0')
	}
	return n
}
