package oracletest

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// alike is two datagrams that differ in nothing, a question and its answer.
func alike(apart time.Duration) *scene {
	s := newScene()
	s.flow("udp", 4000, 0)
	s.flow("icmp", 0, 7)
	s.tell(s.packet(leaving, question(4000, 0, "same")))
	s.pass(apart)
	s.tell(s.packet(leaving, question(4000, 0, "same"))).Related = []Relation{{1, "duplicate_of"}}
	s.pass(apart)
	s.tell(s.packet(leaving, echo(7, 1)))
	s.tell(s.packet(arriving, echo(7, 1).answer())).Related = []Relation{{3, "reply_to"}}
	return s
}

// What is right passes, and one thing that is wrong is seen as what it is.
func TestFaultsAreSeen(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(s *scene)
		want  []Fault
	}{
		"nothing": {func(*scene) {}, nil},
		"swapped hops": {func(s *scene) {
			a, b := &s.journeys[0], &s.journeys[1]
			a.Hops[2], b.Hops[2] = b.Hops[2], a.Hops[2]
		}, []Fault{Joined, Split, Translated}},
		"swapped ends": {func(s *scene) {
			a, b := s.journeys[0].Hops, s.journeys[1].Hops
			for i := 2; i < 4; i++ {
				a[i], b[i] = b[i], a[i]
			}
		}, []Fault{Joined, Split, Translated, Judged}},
		"swapped beginnings": {func(s *scene) {
			a, b := s.journeys[0].Hops, s.journeys[1].Hops
			a[0], b[0] = b[0], a[0]
		}, []Fault{Joined, Split, Translated, Judged, Unrelated}},
		"a hop of another packet": {func(s *scene) {
			s.journeys[2].Hops[1] = s.journeys[0].Hops[1]
		}, []Fault{Joined, Split}},
		"a hop that nobody saw": {func(s *scene) {
			h := s.journeys[2].Hops[3]
			h.Ifindex = 3
			s.journeys[2].Hops = append(s.journeys[2].Hops, h)
		}, []Fault{Joined}},
		"a journey that nobody saw": {func(s *scene) {
			j := s.journeys[2]
			j.ID, j.Hops = 99, slices.Clone(j.Hops)
			for i := range j.Hops {
				j.Hops[i].IPID = 77
			}
			s.journeys = append(s.journeys, j)
		}, []Fault{Joined}},
		"a hop that is missing": {func(s *scene) {
			j := &s.journeys[3]
			j.Hops = slices.Delete(j.Hops, 1, 2)
			j.Verdict.At, j.Translations[0].Between = 2.0, [2]*int{new(0), new(1)}
		}, []Fault{Split}},
		"two journeys of one packet": {func(s *scene) {
			first, second := s.journeys[2], s.journeys[2]
			first.Hops, second.Hops, second.ID = first.Hops[:2], second.Hops[2:], 99
			first.Translations = nil
			second.Translations = nil
			s.journeys[2] = first
			s.journeys = append(s.journeys, second)
		}, []Fault{Split, Translated, Judged}},
		"hops in another order": {func(s *scene) {
			h := s.journeys[2].Hops
			h[1], h[2] = h[2], h[1]
		}, []Fault{Order}},
		"a hop that came from a later one": {func(s *scene) {
			s.journeys[2].Hops[1].From = new(2)
		}, []Fault{Order}},
		"no translation": {func(s *scene) { s.journeys[2].Translations = nil }, []Fault{Translated}},
		"a translation too many": {func(s *scene) {
			j := &s.journeys[2]
			t := j.Translations[0]
			t.Between = [2]*int{new(0), new(1)}
			j.Translations = append(slices.Clone(j.Translations), t)
		}, []Fault{Translated}},
		"a translation between other hops": {func(s *scene) {
			s.journeys[2].Translations[0].Between = [2]*int{new(1), new(2)}
		}, []Fault{Translated}},
		"a translation of another kind": {func(s *scene) { s.journeys[2].Translations[0].Kind = "dnat" }, []Fault{Translated}},
		"a translation to another address": {func(s *scene) {
			s.journeys[2].Translations[0].After.Source.IP = gateway
		}, []Fault{Translated}},
		"a translation to another port":   {func(s *scene) { s.journeys[0].Translations[0].After.Source.Port++ }, []Fault{Translated}},
		"another entry":                   {func(s *scene) { s.journeys[2].Translations[0].ConntrackID++ }, []Fault{Unevidenced}},
		"a translation that is concluded": {func(s *scene) { s.journeys[2].Translations[0].Evidence = "inferred" }, []Fault{Unevidenced}},
		"another end":                     {func(s *scene) { s.journeys[2].Verdict.Result = "dropped" }, []Fault{Judged}},
		"an end at another place":         {func(s *scene) { s.journeys[2].Verdict.At = 2.0 }, []Fault{Judged}},
		"another direction":               {func(s *scene) { s.journeys[3].Direction = "original" }, []Fault{Judged}},
		"a leak that is none":             {func(s *scene) { s.journeys[2].Verdict.Leak = true }, []Fault{Judged}},
		"an end that is concluded":        {func(s *scene) { s.journeys[2].Verdict.Evidence = "evaluated" }, []Fault{Unevidenced}},
		"ambiguous without need":          {func(s *scene) { s.journeys[2].Verdict.Evidence = "ambiguous" }, []Fault{Unevidenced}},
		"no journey":                      {func(s *scene) { s.journeys = slices.Delete(s.journeys, 2, 3); s.journeys[2].Related = nil }, []Fault{Missing}},
		"no journey of one of two alike": {func(s *scene) {
			s.journeys = slices.Delete(s.journeys, 1, 2)
		}, []Fault{Missing}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, apart := range []time.Duration{50 * time.Microsecond, 3 * time.Millisecond} {
				s := alike(apart)
				c.spoil(s)
				s.expectFaults(t, c.want...)
			}
		})
	}
}

// A program that is interrupted stamps a packet when the next one has come. Order
// tells them apart.
func TestLateStampsAreNoFault(t *testing.T) {
	s := alike(50 * time.Microsecond)
	for j := range 2 {
		h := s.journeys[j].Hops
		for i := range h {
			h[i].Time = h[i].Time.Add(time.Millisecond)
		}
	}
	s.expectFaults(t)
	last := &s.journeys[2].Hops[3].Time
	*last = last.Add(300 * time.Millisecond) // its processor was taken away
	s.expectFaults(t)
	for i := range 4 {
		s.journeys[2].Hops[i].Time = s.journeys[2].Hops[i].Time.Add(stampSlack)
	}
	s.expectFaults(t, Order)
}

// Of packets that look the same one was lost: nobody can tell which, so that a journey
// has to say so.
func TestWhatNobodyCanTellIsNoFault(t *testing.T) {
	s := alike(50 * time.Microsecond)
	// The first one's last two hops are the second one's.
	s.sightings = slices.Delete(s.sightings, 2, 4)
	first := &s.journeys[0]
	first.Hops, first.Translations = first.Hops[:2], nil
	table := s.judge()
	if sum := table.Total(); sum.Ambiguous != 2 || sum.Unsaid != 2 || sum.Wrong != [faults]int{} || table.Perfect() {
		t.Errorf("%d are ambiguous and %d don't say so, want 2 and 2: %v", sum.Ambiguous, sum.Unsaid, table.Examples)
	}
	if len(table.Examples) != 2 || !strings.HasPrefix(table.Examples[0], "scene, unsaid: not called ambiguous: journey 1, ") {
		t.Errorf("examples %q", table.Examples)
	}
	for i := range 2 {
		s.journeys[i].Verdict.Evidence = "ambiguous"
	}
	s.expectFaults(t)
}
