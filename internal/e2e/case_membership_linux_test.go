package e2e

import (
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// listenTo joins a group on a container's eth0 and leaves it again.
func listenTo(t *testing.T, e *engine.Engine, name, group string) {
	t.Helper()
	if err := e.Namespace(name).Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err := net.ListenMulticastUDP("udp", link, &net.UDPAddr{IP: net.ParseIP(group), Port: 5353})
		if err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond) // the report leaves before that of the end takes its place
		return c.Close()
	}); err != nil {
		t.Fatal(err)
	}
}

// Who listens to which group is an event, wherever it is seen, and no journey.
func TestCaseGroupMembership(t *testing.T) {
	e := dualHost(t, 18092)
	e.Run("--name", "database", "box")
	settled6(t, e, "web", "database")
	for object, c := range map[string]struct{ filter, group, says string }{
		"igmp": {"igmp", "239.1.2.3", "IGMP: 172.17.0.2 listens to 239.1.2.3"},
		"mld":  {"ip6[6] == 0 and ip6[40] == 58 and ip6[48] == 143", "ff02::1:2:3", "MLD: fe80::42:acff:fe11:2 listens to ff02::1:2:3"},
	} {
		t.Run(object, func(t *testing.T) {
			// Links that came up a moment ago tell of other groups for a second.
			about := "[gaddr " + c.group + " "
			oracles := map[string]func() []string{"host": heard(t, e.Command, c.filter, about)}
			for _, name := range []string{"web", "database"} {
				oracles[name] = heard(t, func(program string, args ...string) *exec.Cmd { return e.CommandIn(name, program, args...) }, c.filter, about)
			}
			w := startWatch(t, e, "--json", "--events")
			shown := startWatch(t, e, "--events", "tcp") // what is filtered are journeys
			plain := startWatch(t, e)
			listenTo(t, e, "web", c.group)
			time.Sleep(3 * time.Second) // reports are repeated after a second at most (RFC 3376, section 8.11)
			w.end()
			shown.end()
			plain.end()
			seen := map[string][]string{}
			joined, left := 0, 0
			for line := range strings.Lines(w.stdout.String()) {
				var r struct {
					resolution
					Groups, Left []string
				}
				decode(t, []byte(line), &r)
				joins, leaves := slices.Contains(r.Groups, c.group), slices.Contains(r.Left, c.group)
				if r.Kind != "event" || r.Object != object || !joins && !leaves {
					continue
				}
				seen[r.Namespace] = append(seen[r.Namespace], r.Interface+" "+r.Direction)
				if joins {
					joined++
				}
				if leaves {
					left++
				}
			}
			for ns, points := range oracles {
				slices.Sort(seen[ns])
				if want := points(); !slices.Equal(seen[ns], want) || len(want) == 0 {
					t.Errorf("%s: events at %q, tcpdump saw %q", ns, seen[ns], want)
				}
			}
			if joined == 0 || left == 0 {
				t.Errorf("%d sightings of who listens to %s, %d of who does no longer", joined, c.group, left)
			}
			says(t, "watch --events", shown.stdout.String(), c.says)
			if out := plain.stdout.String(); strings.Contains(out, "multicast listener") || strings.Contains(out, "224.0.0.22") {
				t.Errorf("watch shows journeys of it:\n%s", out)
			}
		})
	}
}
