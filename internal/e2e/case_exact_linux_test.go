package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
)

// exactCase is a case that the oracle of scripts/exactness judges: tcpdump in
// the host's namespace and in each container's, and conntrack, say of every
// packet what its journey must be.
type exactCase struct {
	t          *testing.T
	e          *engine.Engine
	containers []string
	host       *oracletest.Host
	recorders  []*oracletest.Recorder
	tracked    *oracletest.Tracker
	watch      *watch
	since      time.Time
}

func startExactCase(t *testing.T, e *engine.Engine, containers ...string) *exactCase {
	t.Helper()
	c := &exactCase{t: t, e: e, containers: containers, host: hostOf(t, e, containers)}
	c.recorders = append(c.recorders, oracletest.Record(t, uint64(e.Host().ID()), e.Command))
	for _, name := range containers {
		c.recorders = append(c.recorders, oracletest.Record(t, uint64(e.Namespace(name).ID()), func(program string, args ...string) *exec.Cmd {
			return e.CommandIn(name, program, args...)
		}))
	}
	c.tracked = oracletest.Track(t, e.Command)
	c.watch = startWatch(t, e, "--json")
	c.since = time.Now()
	return c
}

// end returns the journeys of IPv4 since the start, all of which the oracle found
// right.
func (c *exactCase) end() []journey {
	c.t.Helper()
	return slices.DeleteFunc(c.endAll(), func(j journey) bool { return strings.Contains(j.Hops[0].Source.IP, ":") })
}

// endAll returns those of IPv6, too.
func (c *exactCase) endAll() []journey {
	c.t.Helper()
	time.Sleep(1200 * time.Millisecond) // libpcap's last block
	all, sum := c.watch.journeys()
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted+sum.Malformed > 0 {
		c.t.Errorf("lost something: %+v", sum)
	}
	var sightings []oracletest.Sighting
	for _, r := range c.recorders {
		sightings = append(sightings, r.Stop(c.t)...)
	}
	oracle := oracletest.NewOracle(c.tracked.Stop(c.t), nil, sightings, c.since.UnixNano())
	table := oracle.Judge(all, c.host, c.since.UnixNano(), func(*oracletest.Packet) string { return c.t.Name() })
	if !table.Perfect() || table.Total().Packets == 0 {
		c.t.Errorf("not exact:\n%s%s", table, strings.Join(table.Examples, "\n"))
	}
	return slices.DeleteFunc(all, func(j journey) bool { return len(j.Hops) == 0 || j.Hops[0].Time.Before(c.since) })
}

// places are the points that a journey passed, each once, in the order in which
// its first piece came there: "host:eth0 out ×3".
func places(j *journey) string {
	var order []string
	times := map[string]int{}
	for _, h := range j.Hops {
		at := fmt.Sprintf("%s:%s %s", h.Namespace, h.Interface, h.Direction)
		if times[at]++; times[at] == 1 {
			order = append(order, at)
		}
	}
	for i, at := range order {
		if n := times[at]; n > 1 {
			order[i] = fmt.Sprintf("%s ×%d", at, n)
		}
	}
	return strings.Join(order, ", ")
}
