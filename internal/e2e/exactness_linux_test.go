package e2e

import (
	"context"
	"flag"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// scripts/exactness sets these; see there.
var (
	exactFor   = flag.Duration("exactness.duration", 0, "how long the load lasts; 0 is one round")
	exactRate  = flag.Int("exactness.rate", 0, "observations a second, in addition to the cases")
	exactCases = flag.String("exactness.cases", "", "names of cases, with commas; all by default")
)

// cast is who takes part in the load.
type cast struct {
	*load
	spaces map[string]*netns.Handle
	ip     map[string]netip.Addr
	echoID atomic.Uint32
}

var containers = []string{"back", "database", "front"}

func newCast(t *testing.T, e *engine.Engine) *cast {
	e.Network("back_net")
	e.Run("--name", "back", "-p", "8000:8000", "-p", "8002:8002", "-p", "5000:5000/udp", "box", "sleep", "1000")
	e.Run("--name", "database", "box", "sleep", "1000")
	e.Run("--name", "front", "--network", "back_net", "-p", "8001:8000", "box", "sleep", "1000")
	c := &cast{load: &load{t: t, e: e}, spaces: map[string]*netns.Handle{}, ip: map[string]netip.Addr{}}
	c.echoID.Store(1000)
	for _, name := range containers {
		c.spaces[name] = e.Namespace(name)
		c.ip[name] = netip.MustParseAddr(e.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name))
		c.answerUDP(c.spaces[name], netip.AddrPortFrom(c.ip[name], 5000))
		c.answerTCP(c.spaces[name], 8000)
		c.swallow(c.spaces[name], 8002)
	}
	// A datagram socket on all addresses would answer from another one.
	c.answerUDP(e.Internet(), netip.AddrPortFrom(internet, 5000))
	c.answerTCP(e.Internet(), 8000)
	c.answerTCP(e.Internet(), 8003)
	c.swallow(e.Internet(), 8010)
	// What the uplink sends is cut to its size, as on a network card without
	// offloads; and errors are not rationed.
	succeed(t, e.Command("ethtool", "-K", "eth0", "tso", "off", "gso", "off"))
	succeed(t, e.Command("sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0"))
	succeed(t, e.CommandOutside("sysctl", "-q", "-w", "net.ipv4.icmp_ratelimit=0"))
	// Some segments are lost behind the first tap, and sent again.
	succeed(t, e.Command("iptables", "-I", "DOCKER-USER", "-p", "tcp", "--dport", "8003",
		"-m", "statistic", "--mode", "nth", "--every", "9", "--packet", "4", "-j", "DROP"))
	return c
}

// restore takes back what newCast changed on the engine that all tests share.
func (c *cast) restore() {
	succeed(c.t, c.e.Command("iptables", "-D", "DOCKER-USER", "1"))
	succeed(c.t, c.e.Command("ethtool", "-K", "eth0", "tso", "on", "gso", "on"))
}

func succeed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// hostOf is whose addresses are where, as ip(8) tells.
func hostOf(t *testing.T, e *engine.Engine, containers []string) *oracletest.Host {
	t.Helper()
	h := &oracletest.Host{Addresses: map[uint64]map[string]bool{}, Containers: map[uint64]string{}, Self: uint64(e.Host().ID())}
	add := func(space uint64, cmd *exec.Cmd) {
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var links []struct {
			Info []struct{ Local string } `json:"addr_info"`
		}
		decode(t, out, &links)
		h.Addresses[space] = map[string]bool{}
		for _, l := range links {
			for _, a := range l.Info {
				h.Addresses[space][a.Local] = true
			}
		}
	}
	add(uint64(e.Host().ID()), e.Command("ip", "-j", "addr"))
	for _, name := range containers {
		space := uint64(e.Namespace(name).ID())
		h.Containers[space] = name
		add(space, e.CommandIn(name, "ip", "-j", "addr"))
	}
	return h
}

// caseOf names the case of a packet by whose traffic it is.
func (l *load) caseOf(p *oracletest.Packet) string {
	for i := range p.Sightings {
		s := &p.Sightings[i]
		protocol, ends := s.Conversation()
		for _, end := range ends {
			if name := l.cases[party{protocol, end.IP, int(end.Port)}]; name != "" {
				return name
			}
		}
	}
	return "other"
}

func TestEveryJourneyIsWhatTcpdumpSaw(t *testing.T) {
	c := newCast(t, engine.Shared(t))
	defer c.restore()
	host := hostOf(t, c.e, containers)
	inside := func(name string) func(string, ...string) *exec.Cmd {
		return func(program string, args ...string) *exec.Cmd { return c.e.CommandIn(name, program, args...) }
	}
	recorders := []*oracletest.Recorder{oracletest.Record(t, uint64(c.e.Host().ID()), c.e.Command)}
	for _, name := range containers {
		recorders = append(recorders, oracletest.Record(t, uint64(c.spaces[name].ID()), inside(name)))
	}
	tracked := oracletest.Track(t, c.e.Command)
	inFront := oracletest.Track(t, inside("front")) // a network of its own brings DNS, by rules that make it track
	w := startWatch(t, c.e, "--json")

	since := time.Now()
	c.play(*exactFor, *exactRate)
	took := time.Since(since)

	time.Sleep(4 * time.Second) // a drop is said when no next hop can come any more
	journeys, sum := w.journeys()
	entries, entriesInFront := tracked.Stop(t), inFront.Stop(t)
	var sightings []oracletest.Sighting
	for _, r := range recorders {
		sightings = append(sightings, r.Stop(t)...)
	}
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted+sum.Malformed > 0 {
		t.Errorf("lost something: %+v", sum)
	}
	oracle := oracletest.NewOracle(entries, entriesInFront, sightings, since.UnixNano())
	table := oracle.Judge(journeys, host, since.UnixNano(), c.caseOf)
	t.Logf("%d observations in %.1f s, %.0f a second, of which tcpdump lost none\n%s", len(sightings), took.Seconds(),
		float64(len(sightings))/took.Seconds(), table)
	if !table.Perfect() {
		t.Errorf("not exact:\n%s", strings.Join(table.Examples, "\n"))
	}
	if *exactCases != "" {
		return
	}
	if n := table.Total().Packets; n < 1000 {
		t.Errorf("%d packets compared, want at least 1000", n)
	}
}

// play plays a round of each case every second for that long, at least one, and
// beside them a steady load of so many observations a second.
func (c *cast) play(atLeast time.Duration, rate int) {
	ctx, cancel := context.WithTimeout(context.Background(), atLeast)
	defer cancel()
	var group sync.WaitGroup
	for name, round := range c.rounds() {
		if *exactCases != "" && !slices.Contains(strings.Split(*exactCases, ","), name) {
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
}
