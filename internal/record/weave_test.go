package record

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// passage is a journey of one hop: a datagram with an address, in or out.
func passage(id uint64, time int64, out bool, source string, ttl uint8) *trace.Journey {
	h := trace.Hop{Time: time, Point: capture.Point{Namespace: 7, Ifindex: 2, Direction: capture.In}, Type: capture.Host, From: -1}
	verdict := trace.Verdict{Result: trace.Delivered}
	if out {
		h.Point.Direction, h.Type = capture.Out, capture.Outgoing
		verdict.Result = trace.Left
	}
	h.Headers.Layers = packet.LayerIPv4 | packet.LayerUDP
	h.Headers.Length, h.Headers.TTL = 100, ttl
	h.Headers.Tuple = packet.NewTuple(packet.UDP, netip.MustParseAddr(source), netip.MustParseAddr("203.0.113.10"), 5000, 8000)
	return &trace.Journey{
		ID: id, Time: time, Hops: []trace.Hop{h}, Verdict: verdict, Topology: (&netinfo.Topology{}).Seal(), Protocol: packet.UDP,
		From: trace.Endpoint{IP: h.Headers.Tuple.Source()}, To: trace.Endpoint{IP: h.Headers.Tuple.Destination()},
	}
}

func TestWeaverJoinsOnlyWhatIsCertain(t *testing.T) {
	one, two, three := &origin{name: "one"}, &origin{name: "two", host: 1}, &origin{name: "three", host: 2}
	type seen struct {
		by *origin
		j  *trace.Journey
	}
	out := func(id uint64, at int64, from string) seen { return seen{one, passage(id, at, true, from, 63)} }
	in := func(by *origin, id uint64, at int64, from string, ttl uint8) seen {
		return seen{by, passage(id, at, false, from, ttl)}
	}
	const a, b = "192.0.2.10", "192.0.2.11"
	flood := in(two, 1, 1100, a, 63)
	flood.j.Hops[0].Type = capture.Broadcast
	through := in(two, 1, 1050, a, 62)
	further := through.j.Hops[0]
	further.Point.Direction, further.Headers.TTL = capture.Out, 61
	through.j.Hops = append(through.j.Hops, further)
	through.j.Verdict = trace.Verdict{Result: trace.Left, Hop: 1}
	dropped := out(1, 1000, a)
	dropped.j.Verdict.Result = trace.Dropped
	for name, test := range map[string]struct {
		seen     []seen
		journeys int
		inferred int
		alike    bool
	}{
		"one packet":                   {seen: []seen{out(1, 1000, a), in(two, 1, 1100, a, 62)}, journeys: 1},
		"whatever came first":          {seen: []seen{in(two, 1, 900, a, 62), out(1, 1000, a)}, journeys: 1},
		"two senders, the same bytes":  {seen: []seen{out(1, 1000, a), out(2, 1001, b), in(two, 1, 1100, a, 62), in(two, 2, 1101, b, 62)}, journeys: 2},
		"two alike":                    {seen: []seen{out(1, 1000, a), out(2, 2000, a), in(two, 1, 2100, a, 62)}, journeys: 3, alike: true},
		"which of two":                 {seen: []seen{out(1, 1000, a), in(two, 1, 1100, a, 62), in(two, 2, 2100, a, 62)}, journeys: 3, alike: true},
		"a higher TTL":                 {seen: []seen{out(1, 1000, a), in(two, 1, 1100, a, 64)}, journeys: 2},
		"long after":                   {seen: []seen{out(1, 1000, a), in(two, 1, 1000+2e9, a, 62)}, journeys: 2},
		"translated between":           {seen: []seen{out(1, 1000, a), in(two, 1, 1100, b, 62)}, journeys: 1, inferred: 1},
		"not translated by a switch":   {seen: []seen{out(1, 1000, a), in(two, 1, 1100, b, 63)}, journeys: 2},
		"translated, but which of two": {seen: []seen{out(1, 1000, a), in(two, 1, 1100, b, 62), in(two, 2, 1200, b, 62)}, journeys: 3, alike: true},
		"two places":                   {seen: []seen{out(1, 1000, a), in(two, 1, 1100, a, 62), in(three, 1, 1100, a, 62)}, journeys: 3, alike: true},
		"two, one behind the other":    {seen: []seen{out(1, 1000, a), through, in(three, 1, 1100, a, 61)}, journeys: 1},
		"broadcast":                    {seen: []seen{out(1, 1000, a), flood}, journeys: 2},
		"dropped":                      {seen: []seen{dropped, in(two, 1, 1100, a, 62)}, journeys: 2},
	} {
		t.Run(name, func(t *testing.T) {
			var told []*trace.Journey
			w := newWeaver(func(j *trace.Journey) { told = append(told, j) })
			for _, s := range test.seen {
				again := *s.j
				w.take(s.by, 0, &again, s.j.Time)
			}
			w.flush()
			inferred, alike, ids := 0, false, map[uint64]bool{}
			for _, j := range told {
				ids[j.ID] = true
				alike = alike || strings.Contains(strings.Join(j.Notes, " "), "2 packets there look like it")
				for _, tr := range j.Translations {
					if tr.Evidence != trace.ByInference || tr.Kind != trace.SNAT {
						t.Errorf("%+v", tr)
					}
					inferred++
				}
			}
			if len(told) != test.journeys || len(ids) != test.journeys || inferred != test.inferred || alike != test.alike {
				t.Errorf("%d journeys, %d numbers, %d inferred, alike %v; want %+v", len(told), len(ids), inferred, alike, test)
			}
			if len(w.byID)+len(w.looks) > 0 {
				t.Errorf("left behind: %d, %d", len(w.byID), len(w.looks))
			}
		})
	}
}

func TestJourneysOfSeveralHostsHaveNumbersOfTheirOwn(t *testing.T) {
	one, two := &origin{name: "one"}, &origin{name: "two", host: 1}
	var told []*trace.Journey
	w := newWeaver(func(j *trace.Journey) { told = append(told, j) })
	w.take(one, 0, passage(5, 1000, true, "192.0.2.10", 63), 1000)
	w.take(two, 0, passage(5, 1100, false, "192.0.2.10", 62), 1100)
	answer := passage(9, 2000, true, "192.0.2.99", 64)
	answer.Hops[0].Headers.IPID = 3
	answer.Related = []trace.Relation{{ID: 5, Why: "reply_to"}, {ID: 4, Why: "duplicate_of"}}
	w.take(two, 0, answer, 2000)
	late := passage(11, 1000, true, "192.0.2.10", 63)
	late.Supersedes = 5
	w.take(one, 0, late, 2100)
	w.flush()
	if len(told) != 2 || told[0].ID != 1 || told[1].ID != 2 || len(told[0].Hops) != 2 || told[0].Supersedes != 0 {
		t.Fatalf("%+v", told)
	}
	if r := told[1].Related; len(r) != 1 || r[0] != (trace.Relation{ID: 1, Why: "reply_to"}) {
		t.Errorf("related %v", r)
	}
}

func TestWhatClocksDifferBy(t *testing.T) {
	const never, ms = math.MaxInt64, int64(1e6)
	for _, test := range []struct{ there, back, ahead, within int64 }{
		{5 * ms, 5 * ms, 0, 0},
		{505 * ms, -495 * ms, 500 * ms, 5 * ms},
		{-495 * ms, 505 * ms, -500 * ms, 5 * ms},
		{8 * ms, 2 * ms, 0, 0}, // as likely the way is not the same
		{never, never, 0, 0},
		{300 * ms, never, 0, 0},
		{-300 * ms, never, -300 * ms, -1},
		{never, 7000 * ms, -7000 * ms, -1},
	} {
		d := apart{there: test.there, back: test.back}
		if ahead, within := d.ahead(); ahead != test.ahead || within != test.within {
			t.Errorf("%+v: %d within %d, want %d, %d", d, ahead, within, test.ahead, test.within)
		}
	}
}

func TestFilesOfOneHostAreTold(t *testing.T) {
	file := func(name, session, host string, self netns.ID, mac string) *opened {
		n := &netinfo.Namespace{ID: self, Links: []*netinfo.Link{{Name: "lo", Role: netinfo.RoleLoopback, MAC: "00:00:00:00:00:00"}, {Name: "eth0", MAC: mac}}}
		return &opened{File: File{Name: name}, header: &header{Session: session, Host: host},
			topology: (&netinfo.Topology{Self: self, Namespaces: []*netinfo.Namespace{n}}).Seal()}
	}
	first, again := file("a_1.pcapng", "1", "a", 7, "02:00:00:00:00:01"), file("a_2.pcapng", "2", "a", 7, "02:00:00:00:00:01")
	other, same := file("b.pcapng", "3", "b", 7, "02:00:00:00:00:02"), file("d/b.pcapng", "4", "b", 8, "02:00:00:00:00:02")
	old := &opened{File: File{Name: "c.pcapng"}, header: &header{Session: "5"}}
	for _, test := range []struct {
		files []*opened
		names string
	}{
		{[]*opened{first, again}, "a:2"},
		{[]*opened{first, again, other}, "a:2 b:1"},
		{[]*opened{first, other, same}, "a:1 b:1 b-2:1"},
		{[]*opened{old, old}, "c:1"},
		{[]*opened{first, old}, "a:1 c:1"},
	} {
		var names []string
		for _, h := range hostsOf(test.files) {
			names = append(names, h.name+":"+string(rune('0'+len(h.sessions))))
		}
		if got := strings.Join(names, " "); got != test.names {
			t.Errorf("hosts %q, want %q", got, test.names)
		}
	}
}
