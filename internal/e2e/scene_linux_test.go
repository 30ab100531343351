package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
)

// scene is a case under the oracle: natlens watches while tcpdump records all
// links of the host and of its containers, and conntrack tells of every flow.
type scene struct {
	*load
	names     []string
	recorders []*oracletest.Recorder
	tracked   *oracletest.Tracker
	watch     *watch
	since     time.Time
	kinds     [2]string // as in oracletest.Host
	// drops: something does not arrive, which is said when no next hop can come
	// any more.
	drops bool
	// drop is as in oracletest.Host.
	drop func(*oracletest.Packet) (hook, rule string)
	// skip picks packets whose truth the oracle can't know.
	skip func(*oracletest.Packet) bool
}

// openScene starts to record and to watch. What the containers do before it is
// not looked at.
func openScene(t *testing.T, e *engine.Engine, containers ...string) *scene {
	t.Helper()
	s := &scene{load: &load{t: t, e: e}, names: containers}
	s.recorders = append(s.recorders, oracletest.Record(t, uint64(e.Host().ID()), e.Command))
	for _, name := range containers {
		s.recorders = append(s.recorders, oracletest.Record(t, uint64(e.Namespace(name).ID()), inContainer(e, name)))
	}
	s.tracked = oracletest.Track(t, e.Command)
	s.watch = startWatch(t, e, "--json")
	s.since = time.Now()
	return s
}

// close ends it, holds every journey against the oracle, and returns the
// journeys of IPv4.
func (s *scene) close() []journey {
	s.t.Helper()
	wait := 1200 * time.Millisecond // libpcap's last block
	if s.drops {
		wait = 4 * time.Second
	}
	time.Sleep(wait)
	all, sum := s.watch.journeys()
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted+sum.Malformed > 0 {
		s.t.Errorf("lost something: %+v", sum)
	}
	entries := s.tracked.Stop(s.t)
	var sightings []oracletest.Sighting
	for _, r := range s.recorders {
		sightings = append(sightings, r.Stop(s.t)...)
	}
	host := hostOf(s.t, s.e, s.names)
	host.Kinds, host.Drop = s.kinds, s.drop
	oracle := oracletest.NewOracle(entries, nil, sightings, s.since.UnixNano())
	table := oracle.Judge(all, host, s.since.UnixNano(), func(p *oracletest.Packet) string {
		if s.skip != nil && s.skip(p) {
			return ""
		}
		return "packets"
	})
	s.t.Logf("%d sightings\n%s", len(sightings), table)
	if !table.Perfect() || table.Total().Packets == 0 {
		s.t.Errorf("not exact:\n%s", strings.Join(table.Examples, "\n"))
	}
	return slices.DeleteFunc(all, func(j journey) bool {
		return len(j.Hops) == 0 || strings.Contains(j.Hops[0].Source.IP, ":") || j.Hops[0].Time.Before(s.since)
	})
}
