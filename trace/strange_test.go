package trace

import (
	"slices"
	"testing"
	"time"

	"natlens/netinfo"
)

// newcomer is a stage on which the second container is yet to come; come brings its
// namespace and its links, and its name if it is known.
func newcomer(t *testing.T) (s *stage, come func(named bool)) {
	s = newStage(t)
	before := world()
	before.Engine = &netinfo.Engine{}
	before.Namespaces = slices.DeleteFunc(before.Namespaces, func(n *netinfo.Namespace) bool { return n.ID == baseNS })
	host := before.Namespaces[0]
	host.Links = slices.DeleteFunc(host.Links, func(l *netinfo.Link) bool { return l.Key.Index == vethBase })
	s.c = New(1024, Sink{Journey: func(j *Journey) { s.journeys = append(s.journeys, j) }})
	s.c.SetTopology(before.Seal())
	s.c.AwaitFlows()
	s.c.Watch(hostNS, 1)
	s.pass(10 * time.Second)
	s.c.Watch(baseNS, s.now)
	return s, func(named bool) {
		after := world()
		after.Engine, after.Time = before.Engine, time.Unix(0, s.now)
		if !named {
			n := after.Namespaces[2]
			n.Name, n.Containers = "docker-0123456789ab", nil
		}
		s.c.SetTopology(after.Seal())
	}
}

// leaves is a ping of the second container's to the internet.
func (s *stage) leaves(seq uint16) {
	p := ping(s.t, baseIP, internetIP, 7, seq, false)
	for _, where := range []at{baseOut, baseVIn, bridgeIn, uplinkOut} {
		s.see(where, p)
	}
}

const (
	asNobody = "net:[3]/if6:out host/if5:in host/docker0:in host/eth0:out"
	asNumber = "docker-0123456789ab/eth0:out host/vethbase:in host/docker0:in host/eth0:out"
	asNamed  = "database/eth0:out host/vethbase:in host/docker0:in host/eth0:out"
)

func (s *stage) shows(want ...string) {
	s.t.Helper()
	var got []string
	for _, j := range s.journeys {
		got = append(got, path(j))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("shown: %q, want %q", got, want)
	}
}

// A packet of a container that nobody has told of is shown when somebody has.
func TestWaitsForTheNewsOfAContainer(t *testing.T) {
	s, come := newcomer(t)
	s.leaves(1)
	s.pass(20 * time.Millisecond)
	s.pass(30 * time.Millisecond)
	s.shows()
	come(true)
	s.pass(20 * time.Millisecond)
	s.shows(asNamed)
	s.leaves(2) // from now on nothing waits
	s.pass(time.Millisecond)
	s.pass(15 * time.Millisecond)
	s.shows(asNamed, asNamed)
	s.pass(5 * time.Second)
	s.shows(asNamed, asNamed)
}

// News that comes later amends what was shown, each time that more is known.
func TestAmendsWhenTheNameIsKnown(t *testing.T) {
	s, come := newcomer(t)
	s.leaves(1)
	s.pass(20 * time.Millisecond)
	s.pass(130 * time.Millisecond)
	s.shows(asNobody)
	s.pass(500 * time.Millisecond)
	come(false)
	s.pass(50 * time.Millisecond)
	s.shows(asNobody, asNumber)
	s.pass(500 * time.Millisecond)
	come(true)
	s.pass(50 * time.Millisecond)
	s.shows(asNobody, asNumber, asNamed)
	for i, j := range s.journeys[1:] {
		if j.Supersedes != s.journeys[0].ID && j.Supersedes != s.journeys[i].ID {
			t.Errorf("record %d supersedes #%d", i+1, j.Supersedes)
		}
	}
	s.pass(5 * time.Second)
	if s.c.Open() != 0 {
		t.Errorf("%d journeys are kept", s.c.Open())
	}
}

// A name that never comes is not waited for without end.
func TestStrangersAreForgotten(t *testing.T) {
	s, _ := newcomer(t)
	s.leaves(1)
	s.pass(20 * time.Millisecond)
	for range 20 {
		s.leaves(2)
		s.pass(300 * time.Millisecond)
	}
	if s.c.Open() > 15 {
		t.Errorf("%d journeys are kept, of 3 s there are 10", s.c.Open())
	}
}

// A link has the name that it has while it is up: an engine gives it others before
// and afterwards.
func TestNameOfALinkThatIsUp(t *testing.T) {
	s, _ := newcomer(t)
	host := func(name string, up bool) {
		w := world()
		w.Time = time.Unix(0, s.now)
		w.Namespaces[2].Links[0].Name, w.Namespaces[2].Links[0].Up = name, up
		s.c.SetTopology(w.Seal())
	}
	const asMoved = "database/veth0815:out host/vethbase:in host/docker0:in host/eth0:out"
	host("veth0815", false)
	s.leaves(1)
	s.pass(20 * time.Millisecond)
	s.pass(200 * time.Millisecond)
	host("eth0", true)
	s.pass(50 * time.Millisecond)
	s.shows(asMoved, asNamed)
	host("veth0815", false)
	s.leaves(2)
	s.pass(20 * time.Millisecond)
	s.pass(200 * time.Millisecond)
	s.shows(asMoved, asNamed, asNamed)
}
