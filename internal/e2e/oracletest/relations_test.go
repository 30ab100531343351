package oracletest

import (
	"slices"
	"testing"
	"time"
)

// relatives are packets that belong to earlier ones, by every relation that the oracle
// knows. Journeys are numbered from 1.
func relatives() *scene {
	s := newScene()
	s.flow("icmp", 0, 7)
	s.flow("udp", 4000, 0)
	s.flow("udp", 4001, 0)
	s.flow("tcp", 5000, 0)
	related := func(j *Journey, to uint64, why string) { j.Related = append(j.Related, Relation{to, why}) }
	s.tell(s.packet(leaving, echo(7, 1)))
	s.tell(s.packet(leaving, echo(7, 2)))
	related(s.tell(s.packet(arriving, echo(7, 1).answer())), 1, "reply_to")
	// 4 and 5: a datagram and its answer; 6 and 7 crossed them.
	asked := question(4000, 31, "who?")
	s.tell(s.packet(leaving, asked))
	related(s.tell(s.packet(arriving, asked.answer())), 4, "reply_to")
	s.tell(s.packet(leaving, question(4000, 32, "what?")))
	s.tell(s.packet(leaving, question(4000, 33, "when?")))
	s.tell(s.packet(arriving, question(4000, 34, "well").answer()))
	// 9 is refused, 10 says so.
	s.tell(s.packet(leaving, question(4001, 35, "no?")))
	refusal := Sighting{Protocol: icmp, Source: Address{IP: world}, Dest: Address{IP: back}, IPID: 900, Length: 60, ICMPType: 3, quotedID: 35}
	about := s.packet(arriving, refusal)
	for i := range about {
		from := Address{back, 4001}
		if about[i].Dest.IP == host {
			from.IP = host
		}
		about[i].quoted = &tuple{udp, from, Address{world, 53}, 0}
	}
	j := s.tell(about)
	related(j, 9, "error_about")
	j.Translations[0].Kind = "masquerade"
	// 11 and 12 open a connection, 13 is data, 14 the same again.
	segment := Sighting{Protocol: tcp, Source: Address{back, 5000}, Dest: Address{world, 53}, IPID: 50, Length: 60, TCPSeq: 100, TCPFlags: syn}
	s.tell(s.packet(leaving, segment))
	open := segment.answer()
	open.TCPFlags |= 0x10
	related(s.tell(s.packet(arriving, open)), 11, "reply_to")
	segment.TCPFlags, segment.TCPSeq, segment.TCPLength, segment.IPID, segment.payload = 0x10, 101, 50, 51, "data"
	s.tell(s.packet(leaving, segment))
	s.pass(200 * time.Millisecond)
	segment.TCPFlags, segment.IPID = 0x18, 53
	related(s.tell(s.packet(leaving, segment)), 13, "retransmission_of")
	// 15 is 7 once more.
	related(s.tell(s.packet(leaving, question(4000, 33, "when?"))), 7, "duplicate_of")
	// 16 ends the connection, 17 does so again.
	segment.TCPFlags, segment.TCPSeq, segment.TCPLength, segment.IPID, segment.payload = 0x11, 151, 0, 54, ""
	s.tell(s.packet(leaving, segment))
	s.pass(200 * time.Millisecond)
	segment.IPID = 55
	related(s.tell(s.packet(leaving, segment)), 16, "retransmission_of")
	// 18 is 7 once more, when that may be forgotten.
	s.pass(SoonAfter)
	s.tell(s.packet(leaving, question(4000, 33, "when?")))
	return s
}

func TestRelationsAreJudged(t *testing.T) {
	relate := func(n int, r ...Relation) func([]Journey) { return func(j []Journey) { j[n-1].Related = r } }
	for name, c := range map[string]struct {
		spoil func([]Journey)
		right bool
	}{
		"nothing":                         {func([]Journey) {}, true},
		"a reply to another echo":         {relate(3, Relation{2, "reply_to"}), false},
		"an echo's reply to none":         {relate(3), false},
		"a datagram's reply to none":      {relate(5), false},
		"a reply to what came later":      {relate(5, Relation{6, "reply_to"}), false},
		"a reply to one of two":           {relate(8, Relation{7, "reply_to"}), false},
		"an answered connection":          {relate(12), false},
		"a connection that answers a UDP": {relate(12, Relation{4, "reply_to"}), false},
		"an error about another":          {relate(10, Relation{7, "error_about"}), false},
		"an error about nothing":          {relate(10), false},
		"a reply that is an error":        {relate(10, Relation{9, "reply_to"}), false},
		"sent again, not said":            {relate(14), false},
		"sent again, and of another":      {relate(14, Relation{11, "retransmission_of"}), false},
		"what was not sent again":         {relate(13, Relation{11, "retransmission_of"}), false},
		"ended again, not said":           {relate(17), false},
		"ended, and said to be again":     {relate(16, Relation{11, "retransmission_of"}), false},
		"twice, not said":                 {relate(15), false},
		"twice another":                   {relate(15, Relation{6, "duplicate_of"}), false},
		"twice, said late":                {relate(18, Relation{15, "duplicate_of"}), true},
		"no duplicate":                    {relate(7, Relation{6, "duplicate_of"}), false},
		"no name was asked for":           {relate(7, Relation{6, "resolved_by"}), false},
		"no journey":                      {relate(13, Relation{77, "proxied_as"}), false},
		"another connection's data":       {relate(13, Relation{4, "proxied_as"}), false},
		"a word that nobody knows":        {relate(13, Relation{4, "cousin_of"}), false},
		"a record that was replaced": {func(j []Journey) {
			j[0].ID, j[0].earlier = 99, []uint64{1}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := relatives()
			c.spoil(s.journeys)
			if c.right {
				s.expectFaults(t)
				return
			}
			s.expectFaults(t, Unrelated)
		})
	}
}

func TestNewestKnowsWhatWasReplaced(t *testing.T) {
	all := Newest([]Journey{{ID: 1}, {ID: 2}, {ID: 3, Supersedes: 1}, {ID: 4, Supersedes: 3}})
	if len(all) != 2 || all[0].ID != 2 || all[1].ID != 4 || !slices.Equal(all[1].earlier, []uint64{3, 1}) {
		t.Errorf("%+v", all)
	}
}
