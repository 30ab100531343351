package oracletest

import "slices"

// moment is a point and a time at which something was seen there. The packets of one
// moment, if they are several, were in one buffer.
type moment struct {
	at   point
	time int64 // ns
}

func (s *Sighting) moment() moment { return moment{s.point(), s.Time} }

func (h *Hop) moment() moment { return moment{h.point(), h.Time.UnixNano()} }

// match says of each hop which of tcpdump's stamps at its point is that of the same
// packet. Two sockets stamp one packet at different times, and may be interrupted for
// longer than it takes until the next one that looks the same; but both stamp them in
// one order. So where both saw as many the first is the first, the second is the
// second. Where not, stamps are paired in order so that they are least apart in all;
// what then has no partner has no place in what is returned.
func (o *Oracle) match(journeys []*Journey) map[moment]int64 {
	hops := map[point][]int64{}
	for _, j := range journeys {
		for i := range j.Hops {
			m := j.Hops[i].moment()
			hops[m.at] = append(hops[m.at], m.time)
		}
	}
	matched := map[moment]int64{}
	for at, stamps := range hops {
		slices.Sort(stamps)
		stamps = slices.Compact(stamps) // of merged packets each journey has the hop
		for i, stamp := range pair(stamps, o.stamps[at]) {
			if stamp >= 0 {
				matched[moment{at, stamps[i]}] = o.stamps[at][stamp]
			}
		}
	}
	return matched
}

// pair finds for each of some stamps its partner among others, by index; -1 for none.
// Both are in order, and so are the partners.
func pair(stamps, others []int64) []int {
	n, m := len(stamps), len(others)
	if n > m {
		partners := slices.Repeat([]int{-1}, n)
		for i, k := range pair(others, stamps) {
			partners[k] = i
		}
		return partners
	}
	// sum[i][k] is how far the first i stamps are from their partners among the first
	// i+k others, k of which have none.
	sum := make([][]int64, n+1)
	for i := range sum {
		sum[i] = make([]int64, m-n+1)
		for k := range sum[i] {
			if i > 0 {
				sum[i][k] = sum[i-1][k] + distance(stamps[i-1], others[i-1+k])
				if k > 0 {
					sum[i][k] = min(sum[i][k], sum[i][k-1])
				}
			}
		}
	}
	partners := make([]int, n)
	for i, k := n, m-n; i > 0; {
		if k > 0 && sum[i][k] == sum[i][k-1] {
			k--
			continue
		}
		partners[i-1] = i - 1 + k
		i--
	}
	return partners
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// find returns the packet that a journey is of: one that was seen where and when its
// first hop was, and of which no journey is known, if there is one.
func (o *Oracle) find(j *Journey, matched map[moment]int64, found map[*Packet]*checker) *Packet {
	m := j.Hops[0].moment()
	stamp, ok := matched[m]
	if !ok {
		return nil
	}
	packets := o.seen[moment{m.at, stamp}]
	if i := slices.IndexFunc(packets, func(p *Packet) bool { return found[p] == nil }); i > 0 {
		return packets[i]
	}
	return packets[0]
}
