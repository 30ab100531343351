package trace

import (
	"slices"
	"testing"
	"time"

	"natlens/netinfo/netfilter"
)

// Two questions on one socket, as a resolver asks for A and AAAA: the message
// id tells which of them is answered. Of other datagrams nothing does, unless
// they take turns.
func TestAnswersFindTheirQuestions(t *testing.T) {
	const asks, answers = true, false
	type datagram struct {
		asks    bool
		payload string
	}
	for name, c := range map[string]struct {
		port uint16
		sent []datagram
		want []int // for each datagram, which it answers; -1 for none
	}{
		"names, in another order": {53, []datagram{{asks, "\x00\x01A"}, {asks, "\x00\x02AAAA"}, {answers, "\x00\x02aaaa"}, {answers, "\x00\x01a"}}, []int{-1, -1, 1, 0}},
		"a name nobody asked":     {53, []datagram{{asks, "\x00\x01A"}, {answers, "\x00\x03b"}}, []int{-1, -1}},
		"too short for a name":    {53, []datagram{{asks, "A"}, {answers, "a"}, {answers, "b"}}, []int{-1, 0, -1}},
		"taking turns":            {5000, []datagram{{asks, "A"}, {answers, "a"}, {asks, "B"}, {answers, "b"}}, []int{-1, 0, -1, 2}},
		"a stream":                {5000, []datagram{{asks, "A"}, {answers, "a"}, {answers, "b"}, {answers, "c"}}, []int{-1, 0, -1, -1}},
		"crossed":                 {5000, []datagram{{asks, "A"}, {asks, "B"}, {answers, "b"}, {answers, "a"}, {asks, "C"}, {answers, "c"}}, []int{-1, -1, -1, -1, -1, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			client, server := port(backIP, 4000), port(baseIP, c.port)
			s.flow(netfilter.New, netfilter.Flow{ID: 5, Original: udpTuple(client, server), Reply: udpTuple(server, client)})
			for i, d := range c.sent {
				way, from, to := []at{backOut, vethIn, baseVOut, baseIn}, client, server
				if !d.asks {
					way, from, to = []at{baseOut, baseVIn, vethOut, backIn}, server, client
				}
				for _, where := range way {
					s.see(where, udp(t, from, to, uint16(i+1), d.payload))
				}
			}
			s.pass(50 * time.Millisecond)
			s.pass(50 * time.Millisecond)
			var ids []uint64
			var got []int
			for _, j := range s.journeys {
				ids = append(ids, j.ID)
				answered := -1
				for _, r := range j.Related {
					if r.Why == "reply_to" {
						answered = slices.Index(ids, r.ID)
					}
				}
				got = append(got, answered)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
		})
	}
}
