package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
)

// The cases: what Linux and Docker do to packets that makes a journey look wrong,
// or go wrong. Each is made on a real engine.

// takes is one case under way: a watch, and tcpdump in the host's namespace.
type takes struct {
	t        *testing.T
	recorder *oracletest.Recorder
	watch    *watch
	since    int64
}

func startCase(t *testing.T, e *engine.Engine) *takes {
	t.Helper()
	c := &takes{t: t, recorder: oracletest.Record(t, uint64(e.Host().ID()), e.Command)}
	c.watch = startWatch(t, e, "--json")
	c.since = time.Now().UnixNano()
	return c
}

// end returns what was shown and what tcpdump saw, of IPv4 and since the start.
func (c *takes) end() (journeys []journey, sightings []oracletest.Sighting) {
	c.t.Helper()
	time.Sleep(1200 * time.Millisecond) // libpcap's last block
	all, sum := c.watch.journeys()
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted+sum.Malformed > 0 {
		c.t.Errorf("lost something: %+v", sum)
	}
	for _, s := range c.recorder.Stop(c.t) {
		if s.Time >= c.since {
			sightings = append(sightings, s)
		}
	}
	for _, j := range all {
		if len(j.Hops) > 0 && !strings.Contains(j.Hops[0].Source.IP, ":") && j.Hops[0].Time.UnixNano() >= c.since {
			journeys = append(journeys, j)
		}
	}
	return journeys, sightings
}

func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
}

// shape is a journey's hops in a few words.
func shape(j *journey) string {
	var words []string
	for _, h := range j.Hops {
		words = append(words, fmt.Sprintf("%s:%s %s", h.Namespace, h.Interface, h.Direction))
	}
	return strings.Join(words, ", ")
}

// tune sets a sysctl of the host's namespace until the subtest ends; e belongs to
// the test around it.
func tune(t *testing.T, e *engine.Engine, key, value string) {
	t.Helper()
	was, err := e.Command("sysctl", "-n", key).Output()
	if err != nil {
		t.Fatalf("sysctl %s: %v", key, err)
	}
	must(t, e.Command("sysctl", "-q", "-w", key+"="+value))
	t.Cleanup(func() { must(t, e.Command("sysctl", "-q", "-w", key+"="+strings.TrimSpace(string(was)))) })
}
