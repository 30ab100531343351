package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// parts checks that the pieces at each point are numbered and together are the
// whole datagram: no piece missing, none twice.
func parts(t *testing.T, what string, j *journey) {
	t.Helper()
	offsets := map[string][]int{}
	for _, h := range j.Hops {
		at := fmt.Sprintf("%s:%s %s", h.Namespace, h.Interface, h.Direction)
		if h.Part == nil {
			offsets[at] = append(offsets[at], 0)
			continue
		}
		offsets[at] = append(offsets[at], h.Part.Offset)
		if got := len(offsets[at]) - 1; h.Part.Index != got {
			t.Errorf("%s: piece %d at %s is called %d", what, got, at, h.Part.Index)
		}
	}
	for at, got := range offsets {
		want := []int{0, 1480, 2960, 4440}[:len(got)]
		if !slices.Equal(got, want) {
			t.Errorf("%s: pieces at %s begin at %v, want %v", what, at, got, want)
		}
	}
}

// A datagram larger than the links travels in fragments. Bridge netfilter, which
// the engine turns on, puts them together for docker0 to see; connection tracking
// does it in every case, behind docker0, and the uplink cuts anew.
func TestCaseFragments(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "-p", "5000:5000/udp", "box")
	e.Run("--name", "database", "box")
	back := e.Namespace("back")
	backIP, databaseIP := ipOf(t, e, "back", "bridge"), ipOf(t, e, "database", "bridge")
	u, d := vethOf(t, e, "back", "eth0"), vethOf(t, e, "database", "eth0")
	l := &load{t: t, e: e}
	l.answerUDP(back, netip.AddrPortFrom(backIP, 5000))
	l.answerUDP(e.Internet(), netip.AddrPortFrom(internet, 5000))
	ask := func(from *netns.Handle, port uint16, to netip.Addr) {
		c, err := lab.DialUDP(from, netip.AddrPortFrom(netip.IPv4Unspecified(), port), netip.AddrPortFrom(to, 5000))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = lab.Exchange(t.Context(), c, l.words(5000))
		l.must(err)
	}
	for i, filtered := range []string{"1", "0"} {
		// Flows of their own: conntrack tells of those alone that begin.
		first, second := 7000+10*i, uint16(37000+10*i)
		t.Run("bridge-nf-call-iptables="+filtered, func(t *testing.T) {
			tune(t, e, "net.bridge.bridge-nf-call-iptables", filtered)
			c := startExactCase(t, e, "back", "database")
			for id, to := range map[int]netip.Addr{first: internet, first + 1: databaseIP} {
				_, err := lab.Ping(t.Context(), back, to, lab.Echo{ID: uint16(id), Seq: 1, Payload: l.words(4000)})
				l.must(err)
			}
			ask(back, second, internet)
			ask(e.Internet(), second+1, hostAddress)
			journeys := c.end()

			// What comes to docker0 from its ports is whole only there and then;
			// what it sends to them is cut already.
			bridge := func(n int) string {
				if filtered == "1" {
					return "host:docker0 in"
				}
				return fmt.Sprintf("host:docker0 in ×%d", n)
			}
			out := func(n int) string {
				return fmt.Sprintf("back:eth0 out ×%[1]d, host:%[2]s in ×%[1]d, %[3]s, host:eth0 out ×%[1]d", n, u, bridge(n))
			}
			in := func(n int) string {
				return fmt.Sprintf("host:eth0 in ×%[1]d, host:docker0 out ×%[1]d, host:%[2]s out ×%[1]d, back:eth0 in ×%[1]d", n, u)
			}
			udp := func(port uint16, asks bool) *journey {
				return only(t, fmt.Sprint("datagram ", port), with(journeys, func(j *journey) bool {
					h := &j.Hops[0]
					return j.Protocol == "udp" && (asks && h.Source.Port == port || !asks && h.Destination.Port == port)
				}))
			}
			for _, w := range []struct {
				what, places, end string
				translation       string
				j                 *journey
			}{
				{"ping", out(3), "left at host:eth0 out", "masquerade", only(t, "ping", echoes(journeys, 8, first))},
				{"its answer", in(3), "delivered at back:eth0 in", "undo masquerade", only(t, "answer", echoes(journeys, 0, first))},
				{"5000 B", out(4), "left at host:eth0 out", "masquerade", udp(second, true)},
				{"their answer", in(4), "delivered at back:eth0 in", "undo masquerade", udp(second, false)},
				{"5000 B to the published port", in(4), "delivered at back:eth0 in", "dnat", udp(second+1, true)},
				{"the port's answer", out(4), "left at host:eth0 out", "undo dnat", udp(second+1, false)},
				{"ping of a neighbour", fmt.Sprintf("back:eth0 out ×3, host:%s in ×3, host:%s out ×3, database:eth0 in ×3", u, d),
					"delivered at database:eth0 in", "", only(t, "ping of a neighbour", echoes(journeys, 8, first+1))},
			} {
				same(t, w.what, places(w.j), w.places)
				same(t, w.what, w.j.End(), w.end)
				got := ""
				for _, tr := range w.j.Translations {
					if tr.Undo {
						got += "undo "
					}
					got += tr.Kind
				}
				same(t, w.what+": translations", got, w.translation)
				parts(t, w.what, w.j)
				note := ""
				if strings.Contains(w.places, "host:docker0 in,") {
					note = "whole at docker0: the kernel puts fragments together before it asks its rules, and cuts again what a link does not take"
				}
				same(t, w.what+": notes", noteOf(w.j), note)
				if w.j.Protocol == "udp" && !strings.HasPrefix(w.j.Info, "500") {
					t.Errorf("%s: info %q", w.what, w.j.Info) // not the first piece's size
				}
			}
		})
	}
}
