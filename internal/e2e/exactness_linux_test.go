package e2e

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
)

// scripts/exactness sets these; see there.
var (
	exactFor   = flag.Duration("exactness.duration", 0, "how long the load lasts on each host; 0 is one round")
	exactRate  = flag.Int("exactness.rate", 0, "observations a second, in addition to the cases")
	exactCases = flag.String("exactness.cases", "", "names of cases, with commas; all by default")
)

// exactness is what three ways of seeing the same packets come to.
type exactness struct {
	sync.Mutex
	live, files  oracletest.Table
	unlinked     oracletest.Table // of files that do not tell links apart
	shown, again int              // journeys shown live; of these, those that natlens's own file gives to the letter
	observations int
	took         time.Duration
	playing      int // observations while the load played, without its end
	played       time.Duration
	slowest      float64  // of the hosts: observations a second while the load played
	lost         []string // what natlens said that it lost
}

// lookingTheSame are cases of packets that differ in nothing.
var lookingTheSame = []string{"alike", "lost", "shuffled"}

func TestEveryJourneyIsWhatTcpdumpSaw(t *testing.T) {
	sum := exactness{files: oracletest.Table{Foreign: true}, unlinked: oracletest.Table{Foreign: true}}
	t.Run("on", func(t *testing.T) {
		for _, s := range stages {
			t.Run("host"+s.suffix, func(t *testing.T) {
				if *exactFor == 0 {
					t.Parallel()
				}
				s.measure(t, &sum)
			})
		}
	})
	t.Logf("%d observations in %.1f s, of which tcpdump lost none\n%s\n%s", sum.observations, sum.took.Seconds(), sum.rates(), &sum.live)
	for _, what := range sum.lost {
		t.Logf("natlens lost, and said so: %s", what)
	}
	t.Logf("natlens read, its own file: %d of %d journeys to the letter", sum.again, sum.shown)
	t.Logf("natlens read, tcpdump's files, without conntrack:\n%s", &sum.files)
	t.Logf("natlens read, the same without links (LINKTYPE_LINUX_SLL); what is not all right, and the total:\n%s", sum.unlinked.Brief())
	if !sum.live.Perfect() || len(sum.lost) > 0 {
		t.Errorf("not exact:\n%s", strings.Join(sum.live.Examples, "\n"))
	}
	if sum.again != sum.shown {
		t.Error("a file gives other journeys")
	}
	for how, table := range map[string]*oracletest.Table{"from files": &sum.files, "from files without links": &sum.unlinked} {
		if !table.Perfect() {
			t.Errorf("not exact %s:\n%s", how, strings.Join(table.Examples, "\n"))
		}
	}
	if n := sum.live.Total().Packets; *exactCases == "" && n < 2000 {
		t.Errorf("%d packets compared, want at least 2000", n)
	}
}

// measure plays the load on one host and adds what came of it.
func (s *stage) measure(t *testing.T, sum *exactness) {
	e := engine.Start(t, append([]string{"--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables"}, s.args...)...)
	c := newCast(t, e)
	c.run(e.Command, "sysctl -q -w net.bridge.bridge-nf-call-iptables=%s net.bridge.bridge-nf-call-ip6tables=%s", s.filtered, s.filtered)
	inside := func(name string) func(string, ...string) *exec.Cmd {
		return func(program string, args ...string) *exec.Cmd { return e.CommandIn(name, program, args...) }
	}
	recorders := []*oracletest.Recorder{oracletest.Record(t, uint64(e.Host().ID()), e.Command)}
	for _, name := range containers {
		recorders = append(recorders, oracletest.Record(t, uint64(c.spaces[name].ID()), inside(name)))
	}
	c.tracked = oracletest.Track(t, e.Command)
	// A network of its own brings DNS, by rules that make a container track.
	inFront, inRouted := oracletest.Track(t, inside("front")), oracletest.Track(t, inside("routed"))
	own := filepath.Join(t.TempDir(), "own.pcapng")
	w := startWatch(t, e, append([]string{"--json", "-w", own}, s.snaplen...)...)

	since := time.Now()
	played := c.play(s, *exactFor, *exactRate)
	took := time.Since(since)

	time.Sleep(4 * time.Second) // a drop is said when no next hop can come any more
	// Connections that stay open are probed now and then (tcp(7)).
	until := time.Now()
	journeys, said := w.journeys()
	journeys = slices.DeleteFunc(journeys, func(j journey) bool { return len(j.Hops) > 0 && j.Hops[0].Time.After(until) })
	entries, entriesInside := c.tracked.Stop(t), append(inFront.Stop(t), inRouted.Stop(t)...)
	var sightings []oracletest.Sighting
	for _, r := range recorders {
		sightings = append(sightings, r.Stop(t)...)
	}
	sightings = slices.DeleteFunc(sightings, func(s oracletest.Sighting) bool { return s.Time > until.UnixNano() })
	oracle := oracletest.NewOracle(entries, entriesInside, sightings, since.UnixNano())
	host := c.host()
	caseOf := func(p *oracletest.Packet) string { return c.caseOf(p) + s.suffix }
	live := oracle.Judge(journeys, host, since.UnixNano(), caseOf)
	shown, again := journeysOf(w.stdout.String()), journeysOf(readFiles(t, own))
	host.Foreign = true
	recorded, unlinked := map[string]uint64{}, map[string]uint64{}
	folder := t.TempDir()
	for _, r := range recorders {
		recorded[r.File()] = r.Space()
		without := filepath.Join(folder, filepath.Base(r.File()))
		r.WithoutLinks(t, without)
		unlinked[without] = r.Space()
	}
	files := oracle.Judge(foreign(t, recorded, until), host, since.UnixNano(), caseOf)
	withoutLinks := oracle.WithoutLinks().Judge(foreign(t, unlinked, until), host, since.UnixNano(), func(p *oracletest.Packet) string {
		name := caseOf(p)
		if slices.Contains(lookingTheSame, name) {
			return "" // nothing tells one packet at two links from two packets at one
		}
		return name
	})

	sum.Lock()
	defer sum.Unlock()
	sum.took += took
	sum.observations += len(sightings)
	sum.count(sightings, since, played)
	sum.live.Add(live)
	sum.files.Add(files)
	sum.unlinked.Add(withoutLinks)
	if said.RingDrops+said.ConntrackLost+said.QueueDrops+said.Evicted+said.Malformed > 0 {
		sum.lost = append(sum.lost, fmt.Sprintf("%+v", said))
	}
	sum.shown += len(shown)
	for i, line := range again {
		if i < len(shown) && shown[i] == line {
			sum.again++
		}
	}
}

// count adds what was seen on one host while the load played.
func (e *exactness) count(sightings []oracletest.Sighting, since time.Time, played time.Duration) {
	n := 0
	for i := range sightings {
		if at := sightings[i].Time - since.UnixNano(); at >= 0 && at < played.Nanoseconds() {
			n++
		}
	}
	if rate := float64(n) / played.Seconds(); e.played == 0 || rate < e.slowest {
		e.slowest = rate
	}
	e.playing += n
	e.played += played
}

// rates says how many observations a second were asked for, and how many there were.
func (e *exactness) rates() string {
	reached := float64(e.playing) / e.played.Seconds()
	if *exactRate == 0 {
		return fmt.Sprintf("%.0f a second while the load played", reached)
	}
	return fmt.Sprintf("asked: %d a second beside the cases; reached while the load played: %.0f a second, %.0f on the slowest host",
		*exactRate, reached, e.slowest)
}

// readFiles returns what natlens read prints of files.
func readFiles(t *testing.T, files ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), natlens, append([]string{"read", "--json"}, files...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("natlens read: %v: %s", err, complaint.String())
	}
	return string(out)
}

// foreign returns the journeys that natlens reads out of tcpdump's files, which are
// each of a namespace.
func foreign(t *testing.T, recorded map[string]uint64, until time.Time) (journeys []journey) {
	t.Helper()
	spaces := map[string]uint64{}
	for file, space := range recorded {
		spaces[strings.TrimSuffix(filepath.Base(file), ".pcap")] = space
	}
	files := slices.Sorted(maps.Keys(recorded))
	for _, line := range journeysOf(readFiles(t, files...)) {
		var j journey
		decode(t, []byte(line), &j)
		for i := range j.Hops {
			j.Hops[i].NamespaceInode = spaces[j.Hops[i].Namespace]
		}
		if len(j.Hops) > 0 && !j.Hops[0].Time.After(until) {
			journeys = append(journeys, j)
		}
	}
	return oracletest.Newest(journeys)
}

// play plays a round of each case every second for that long, at least one, and
// beside them a steady load of so many observations a second. It returns for how
// long that played; what had begun by then goes on to its end.
func (c *cast) play(s *stage, atLeast time.Duration, rate int) (played time.Duration) {
	since := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), atLeast)
	defer cancel()
	var group sync.WaitGroup
	for name, round := range s.rounds(c) {
		if *exactCases != "" && !slices.Contains(strings.Split(*exactCases, ","), name+s.suffix) {
			continue
		}
		group.Go(func() {
			for next := time.Now(); ; time.Sleep(time.Until(next)) {
				round(name)
				if next = next.Add(time.Second); ctx.Err() != nil {
					return
				}
			}
		})
	}
	if rate > 0 {
		c.steady(ctx, "steady", rate)
	}
	group.Wait()
	return cmp.Or(atLeast, time.Since(since))
}
