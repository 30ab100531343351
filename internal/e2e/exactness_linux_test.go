package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

var (
	hostAddress = netip.MustParseAddr("192.0.2.10")
	internet    = netip.MustParseAddr("198.51.100.7")
)

// truth is what the oracle says of one packet: its sightings in the order of
// their time, and its conntrack entry.
type truth struct {
	sightings []sighting
	entry     *entry
	reply     bool
}

// oracle knows all packets that passed.
type oracle struct {
	entries []entry
	packets map[string]*truth
	byPoint map[point][]*truth
}

// tupleKey is a tuple as far as conntrack distinguishes it.
type tupleKey struct {
	protocol     int
	source, dest address
	icmpID       int
}

// newOracle groups sightings into packets. What makes two sightings one packet:
// the same flow and direction by conntrack's word (or, where nothing is
// tracked, the same addresses), the same numbers and the same payload; and when
// that fits several, the same place in the order at each point.
func newOracle(t *testing.T, host uint64, entries []entry, sightings []sighting, since int64) *oracle {
	t.Helper()
	o := &oracle{entries: entries, packets: map[string]*truth{}, byPoint: map[point][]*truth{}}
	type direction struct {
		entry *entry
		reply bool
	}
	numbers := map[string]int{"icmp": 1, "tcp": 6, "udp": 17}
	flows := map[tupleKey]direction{}
	for i := range entries {
		e := &entries[i]
		p := numbers[e.protocol]
		for _, k := range []tupleKey{{p, e.original[0], e.original[1], e.icmp[0]}, {p, e.reply[1], e.reply[0], e.icmp[1]}} {
			flows[k] = direction{e, false}
		}
		for _, k := range []tupleKey{{p, e.reply[0], e.reply[1], e.icmp[1]}, {p, e.original[1], e.original[0], e.icmp[0]}} {
			flows[k] = direction{e, true}
		}
	}
	slices.SortStableFunc(sightings, func(a, b sighting) int { return int(a.time - b.time) })
	type place struct {
		space   uint64
		ifindex int
		out     bool
	}
	turns := map[string]map[place]int{}
	for _, s := range sightings {
		d := flows[tupleKey{s.protocol, s.source, s.dest, s.icmpID}]
		flow := fmt.Sprintf("%v %v", s.source, s.dest)
		if d.entry != nil {
			flow = fmt.Sprintf("flow %d reply %v", d.entry.id, d.reply)
		}
		id := fmt.Sprintf("%d %s id %d len %d icmp %d/%d tcp %d/%d/%x %q", s.protocol, flow, s.ipID, s.length,
			s.icmpType, s.icmpSeq, s.tcpSeq, s.tcpAck, s.tcpFlags, s.payload)
		if turns[id] == nil {
			turns[id] = map[place]int{}
		}
		at := place{s.space, s.ifindex, s.out}
		key := fmt.Sprintf("%s #%d", id, turns[id][at])
		turns[id][at]++
		p := o.packets[key]
		if p == nil {
			p = &truth{entry: d.entry, reply: d.reply}
			o.packets[key] = p
		}
		p.sightings = append(p.sightings, s)
	}
	for key, p := range o.packets {
		if p.sightings[0].time < since {
			delete(o.packets, key)
			continue
		}
		for i := range p.sightings {
			at := p.sightings[i].point()
			o.byPoint[at] = append(o.byPoint[at], p)
		}
	}
	return o
}

// find returns the packet that a hop is a sighting of: where several look the
// same at that point, the one with its stamp.
func (o *oracle) find(h *hop) *truth {
	at := h.point()
	var best *truth
	var bestApart time.Duration
	for _, p := range o.byPoint[at] {
		for i := range p.sightings {
			if s := &p.sightings[i]; s.point() == at {
				if d := apart(h, s); best == nil || d < bestApart {
					best, bestApart = p, d
				}
			}
		}
	}
	return best
}

// check holds one journey against the truth and returns what is wrong with it.
func (o *oracle) check(j *journey, names map[uint64]string) (p *truth, wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	p = o.find(&j.Hops[0])
	if p == nil {
		return nil, []string{"tcpdump saw no such packet"}
	}
	if len(j.Hops) != len(p.sightings) {
		bad("%d hops, tcpdump saw it at %d points", len(j.Hops), len(p.sightings))
	}
	var before *sighting
	left := slices.Clone(p.sightings)
	type change struct {
		i, j          int
		before, after [2]address
	}
	var changes []change
	for i := range j.Hops {
		h := &j.Hops[i]
		n := slices.IndexFunc(left, func(s sighting) bool { return s.point() == h.point() })
		if n < 0 {
			bad("hop %d, %s/%s %s: wrongly joined", i, h.Namespace, h.Interface, h.Direction)
			continue
		}
		s := left[n]
		left = slices.Delete(left, n, n+1)
		if d := apart(h, &s); d > time.Millisecond {
			bad("hop %d: %v from tcpdump's stamp", i, d)
		}
		if before != nil {
			tolerance := int64(0)
			if before.space != s.space {
				tolerance = int64(50 * time.Microsecond)
			}
			if s.time < before.time-tolerance {
				bad("hop %d is earlier than hop %d", i, i-1)
			}
			if s.source != before.source || s.dest != before.dest {
				changes = append(changes, change{i - 1, i, [2]address{before.source, before.dest}, [2]address{s.source, s.dest}})
			}
		}
		before = &s
	}
	for _, s := range left {
		bad("not in the journey: %+v", s)
	}

	wantDirection := "none"
	if p.entry != nil {
		wantDirection = map[bool]string{false: "original", true: "reply"}[p.reply]
	}
	if j.Direction != wantDirection {
		bad("direction %s, want %s", j.Direction, wantDirection)
	}
	// The first hop's container is the one that conntrack's original tuple names.
	first := p.sightings[0]
	if p.entry != nil && !p.reply && names[first.space] != "" && first.source != p.entry.original[0] {
		bad("starts at %v, conntrack says %v", first.source, p.entry.original[0])
	}

	shown := j.Translations
	for _, c := range changes {
		var kinds []string
		if c.before[0] != c.after[0] {
			kinds = append(kinds, map[bool]string{false: "masquerade", true: "dnat"}[p.reply])
		}
		if c.before[1] != c.after[1] {
			kinds = append(kinds, map[bool]string{false: "dnat", true: "masquerade"}[p.reply])
		}
		slices.Sort(kinds)
		var got []string
		var last translation
		start := true
		for _, tr := range shown {
			if tr.Between[0] == nil || tr.Between[1] == nil || *tr.Between[0] != c.i || *tr.Between[1] != c.j {
				continue
			}
			got = append(got, tr.Kind)
			if start && (tr.Before.Source != c.before[0] || tr.Before.Destination != c.before[1]) {
				bad("translation from %+v, want %+v", tr.Before, c.before)
			}
			start, last = false, tr
			if p.entry == nil || tr.ConntrackID != p.entry.id || tr.Evidence != "conntrack" {
				bad("translation by %s %d, conntrack says %+v", tr.Evidence, tr.ConntrackID, p.entry)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, kinds) {
			bad("between hops %d and %d: %v, want %v", c.i, c.j, got, kinds)
		}
		if !start && (last.After.Source != c.after[0] || last.After.Destination != c.after[1]) {
			bad("translation to %+v, want %+v", last.After, c.after)
		}
	}
	count := 0
	for _, tr := range shown {
		if tr.Between[0] != nil && tr.Between[1] != nil && !slices.ContainsFunc(changes, func(c change) bool { return c.i == *tr.Between[0] && c.j == *tr.Between[1] }) {
			count++
		}
	}
	if count > 0 {
		bad("%d translations where tcpdump saw none", count)
	}

	end := p.sightings[len(p.sightings)-1]
	result := "delivered"
	if end.out {
		result = "left"
	}
	if j.Verdict.Result != result {
		bad("verdict %s (%s), want %s", j.Verdict.Result, j.Verdict.Reason, result)
	}
	return p, wrong
}

// load is traffic on the engine.
type load struct {
	t *testing.T
	e *engine.Engine
	n int
	sync.Mutex
}

// words makes a payload that no other packet has.
func (l *load) words(size int) []byte {
	l.Lock()
	defer l.Unlock()
	l.n++
	w := fmt.Appendf(nil, "natlens %06d ", l.n)
	for len(w) < size {
		w = append(w, byte('a'+(l.n+len(w))%26))
	}
	return w
}

func (l *load) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Error(err)
	}
}

// answerUDP answers datagrams with other words than they brought.
func (l *load) answerUDP(in *netns.Handle, at netip.AddrPort) {
	l.t.Helper()
	c, err := lab.ListenUDP(in, at)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if _, err := c.WriteToUDPAddrPort(append([]byte("re: "), b[:n]...), from); err != nil {
				return
			}
		}
	}()
}

// answerTCP does the same for connections.
func (l *load) answerTCP(in *netns.Handle, port uint16) {
	l.t.Helper()
	ln, err := lab.ListenTCP(in, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 2048)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					if _, err := c.Write(append([]byte("re: "), b[:n]...)); err != nil {
						return
					}
				}
			}()
		}
	}()
}

func (l *load) pings(from *netns.Handle, to netip.Addr, id uint16, n int) {
	for i := range n {
		_, err := lab.Ping(context.Background(), from, to, lab.Echo{ID: id, Seq: uint16(i + 1), Payload: l.words(24 + i*50)})
		l.must(err)
	}
}

func (l *load) datagrams(from *netns.Handle, to netip.AddrPort, n int) {
	c, err := lab.DialUDP(from, netip.AddrPort{}, to)
	l.must(err)
	if err != nil {
		return
	}
	defer c.Close()
	for i := range n {
		_, err := lab.Exchange(context.Background(), c, l.words(20+i*10))
		l.must(err)
	}
}

// connect opens a connection, exchanges words and closes it. sourcePort 0 is any.
func (l *load) connect(from *netns.Handle, sourcePort uint16, to netip.AddrPort, n int) {
	var local netip.AddrPort
	if sourcePort != 0 {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), sourcePort)
	}
	c, err := lab.DialTCP(context.Background(), from, local, to)
	l.must(err)
	if err != nil {
		return
	}
	defer c.Close()
	for i := range n {
		_, err := lab.Exchange(context.Background(), c, l.words(20+i*10))
		l.must(err)
	}
}

func TestEveryJourneyIsWhatTcpdumpSaw(t *testing.T) {
	e := engine.Shared(t)
	e.Network("back_net")
	e.Run("--name", "back", "-p", "8000:8000", "-p", "5000:5000/udp", "box", "sleep", "1000")
	e.Run("--name", "database", "box", "sleep", "1000")
	e.Run("--name", "front", "--network", "back_net", "-p", "8001:8000", "box", "sleep", "1000")
	spaces := map[string]*netns.Handle{}
	names := map[uint64]string{}
	ip := map[string]netip.Addr{}
	for _, c := range []string{"back", "database", "front"} {
		spaces[c] = e.Namespace(c)
		names[uint64(spaces[c].ID())] = c
		ip[c] = netip.MustParseAddr(e.Docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c))
	}
	l := &load{t: t, e: e}
	for c, in := range spaces {
		l.answerUDP(in, netip.AddrPortFrom(ip[c], 5000))
		l.answerTCP(in, 8000)
	}
	// A datagram socket on all addresses would answer from another one.
	l.answerUDP(e.Internet(), netip.AddrPortFrom(internet, 5000))
	l.answerTCP(e.Internet(), 8000)

	recorders := []*recorder{record(t, uint64(e.Host().ID()), e.Command)}
	for _, c := range []string{"back", "database", "front"} {
		recorders = append(recorders, record(t, uint64(spaces[c].ID()), func(name string, args ...string) *exec.Cmd { return e.CommandIn(c, name, args...) }))
	}
	tracked := startConntrack(t, e)
	w := startWatch(t, e, "--json")
	since := time.Now().UnixNano()

	var group sync.WaitGroup
	for i, c := range []string{"back", "database", "front"} {
		group.Go(func() {
			from := spaces[c]
			l.pings(from, internet, uint16(1000+i), 25)
			l.datagrams(from, netip.AddrPortFrom(internet, 5000), 20)
			l.connect(from, 0, netip.AddrPortFrom(internet, 8000), 8)
		})
	}
	group.Go(func() { // in through published ports
		l.datagrams(e.Internet(), netip.AddrPortFrom(hostAddress, 5000), 20)
		for range 3 {
			l.connect(e.Internet(), 0, netip.AddrPortFrom(hostAddress, 8000), 4)
			l.connect(e.Internet(), 0, netip.AddrPortFrom(hostAddress, 8001), 4)
		}
	})
	group.Go(func() { // container to container, host to container
		l.pings(spaces["back"], ip["database"], 2000, 20)
		l.datagrams(spaces["database"], netip.AddrPortFrom(ip["back"], 5000), 15)
		l.connect(spaces["back"], 0, netip.AddrPortFrom(ip["database"], 8000), 5)
		l.pings(e.Host(), ip["front"], 2001, 10)
		l.datagrams(e.Host(), netip.AddrPortFrom(ip["back"], 5000), 15)
		l.connect(e.Host(), 0, netip.AddrPortFrom(ip["front"], 8000), 5)
		l.pings(spaces["back"], hostAddress, 2002, 5) // to the host itself
	})
	group.Wait()

	// The same bytes at once: id, sequence number and payload of a ping, ports
	// of a connection, a question to the letter.
	same := l.words(40)
	for seq := range uint16(20) {
		for _, c := range []string{"back", "database", "front"} {
			group.Go(func() {
				_, err := lab.Ping(context.Background(), spaces[c], internet, lab.Echo{ID: 77, Seq: seq, Payload: same})
				l.must(err)
			})
		}
		group.Wait()
	}
	for _, c := range []string{"back", "database", "front"} {
		group.Go(func() { l.connect(spaces[c], 40000, netip.AddrPortFrom(internet, 8000), 3) })
		group.Go(func() {
			u, err := lab.DialUDP(spaces[c], netip.AddrPortFrom(netip.IPv4Unspecified(), 40001), netip.AddrPortFrom(internet, 5000))
			l.must(err)
			if err != nil {
				return
			}
			defer u.Close()
			for range 10 {
				_, err := lab.Exchange(context.Background(), u, []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04back\x00\x00\x01\x00\x01"))
				l.must(err)
			}
		})
	}
	group.Wait()

	time.Sleep(1500 * time.Millisecond) // closing packets, and libpcap's last block
	journeys, sum := w.journeys()
	entries := tracked.stop(t)
	var sightings []sighting
	for _, r := range recorders {
		sightings = append(sightings, r.stop(t)...)
	}
	if sum.RingDrops+sum.ConntrackLost+sum.QueueDrops+sum.Evicted+sum.Malformed > 0 {
		t.Errorf("lost something: %+v", sum)
	}
	o := newOracle(t, uint64(e.Host().ID()), entries, sightings, since)
	found := map[*truth]bool{}
	right, wrong := 0, 0
	for i := range journeys {
		j := &journeys[i]
		if len(j.Hops) == 0 || strings.Contains(j.Hops[0].Source.IP, ":") || j.Hops[0].Time.UnixNano() < since {
			continue
		}
		p, mistakes := o.check(j, names)
		if p != nil && found[p] {
			mistakes = append(mistakes, "a second journey of one packet")
		}
		found[p] = true
		if len(mistakes) == 0 {
			right++
			continue
		}
		if wrong++; wrong <= 10 {
			t.Errorf("journey %d, %s %s, %v to %v:\n  %s", j.ID, j.Protocol, j.Info, j.From, j.To, strings.Join(mistakes, "\n  "))
		}
	}
	missing := 0
	for key, p := range o.packets {
		if !found[p] {
			if missing++; missing <= 10 {
				t.Errorf("no journey for %s: %+v", key, p.sightings)
			}
		}
	}
	t.Logf("%d packets, %d observations; journeys: %d exactly right, %d wrong, %d missing", len(o.packets), len(sightings), right, wrong, missing)
	if right < 300 {
		t.Errorf("%d packets compared, want at least 300", right)
	}
}
