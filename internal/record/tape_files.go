package record

import (
	"math"
	"time"

	"natlens/capture/packet"
	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

const (
	// completeEvery is how far apart notes are that say up to when all packets
	// are in the file.
	completeEvery = int64(time.Second)
	// flushEvery is how long what was captured may wait to be written.
	flushEvery = int64(100 * time.Millisecond)
)

// advanced follows the correlator's watermark.
func (t *Tape) advanced() {
	now := t.Now()
	if t.err != nil || now == t.mark || now == t.skipped {
		return
	}
	if now < max(t.mark, t.skipped) {
		t.interrupted()
		return
	}
	t.settle(now)
	observed := t.Counters().Observations
	busy := t.Open() > 0 || t.Walks() > 0 || observed != t.observed
	t.observed = observed
	if busy || t.busy {
		m := mark{Through: now}
		if heard := t.Heard(); heard < now {
			m.Heard = heard
		}
		t.note(kindMark, m)
		t.mark = now
	} else {
		t.skipped = now
	}
	t.busy = busy
	if t.began == 0 {
		t.began = now
	}
	if !t.underWay {
		t.underWay = true
		if t.part == 0 { // all of it was known before the first packet
			t.repeated = t.w.Written()
		}
	}
	if now-t.completed >= completeEvery {
		oldest := t.Oldest()
		if t.beside != nil {
			oldest = t.beside.oldest(oldest)
		}
		t.local(kindComplete, complete{oldest})
		t.completed = now
	}
	if now-t.flushed >= flushEvery && t.err == nil {
		t.keep(t.w.Flush())
		t.flushed = now
	}
	if t.err == nil && t.full(now) {
		t.next()
	}
}

// full reports whether the file has what Config allows it. What it repeats of the one
// before has no size, and a file without a packet is not full before it has news as
// long as that: else an idle host would be written again and again.
func (t *Tape) full(now int64) bool {
	news := t.w.Written() - t.repeated
	return t.config.Every > 0 && now-t.began >= int64(t.config.Every) ||
		t.config.Size > 0 && news >= t.config.Size && (t.packets > 0 || news >= t.repeated)
}

// next ends a file and begins another one, that stands alone as well.
func (t *Tape) next() {
	if t.file != nil {
		t.end()
	}
	if t.err != nil {
		return
	}
	t.part++
	file, err := t.config.Open(t.part)
	if t.keep(err); err != nil {
		return
	}
	t.file = file
	t.w, err = pcapng.NewWriter(file, t.by())
	t.keep(err)
	t.points, t.counts, t.counted, t.named = map[point]int{}, nil, 0, map[string]bool{}
	t.told, t.places = versions{}, nil
	t.began, t.headed, t.further, t.headless = max(t.mark, t.skipped), false, false, true
	if t.known.topology != nil { // else the first word on it begins the file
		t.head()
	}
	t.known.each(t.local, t.version)
	t.names()
	if t.mark != 0 {
		t.local(kindMark, mark{Through: t.mark})
	}
	if t.err == nil {
		t.keep(t.w.Flush())
	}
	t.repeated, t.packets = t.w.Written(), 0
}

// head begins a file with the links that are known, before any block that only natlens
// reads: Wireshark's programs look for an interface there, and refuse to write again
// what begins otherwise.
func (t *Tape) head() {
	t.headed = true
	if k := t.known.topology; k != nil {
		for _, n := range k.Namespaces {
			for _, l := range n.Links {
				p := point{n.ID, l.Key.Index, n.Name + "/" + l.Name, pcapng.LinkTypeOf(packet.Ethernet)}
				if l.MAC == "" && l.Role != netinfo.RoleLoopback {
					p.link = pcapng.LinkTypeOf(packet.RawIP)
				}
				t.places = append(t.places, place{t.point(p, n.Name), n.ID, l.Key.Index})
			}
		}
	}
	if t.headless {
		t.header()
	}
}

// header tells whose a section is.
func (t *Tape) header() {
	t.headless = false
	h := header{Version: version, Session: t.session, Part: t.part, Further: t.further}
	if !t.further {
		h.Host, h.Filter = t.config.Host, t.config.Filter
	}
	t.local(kindHeader, h)
}

// by is who writes.
func (t *Tape) by() pcapng.Section {
	return pcapng.Section{Application: t.config.Application, OS: t.config.OS}
}

// section begins another one in the file, where links came and went until it can't take
// more of them. What natlens knows goes on across it.
func (t *Tape) section() {
	if t.headless {
		t.header()
	}
	t.further, t.headless = true, true
	t.statistics()
	if t.err == nil {
		t.keep(t.w.Section(t.by()))
	}
	t.points, t.named = map[point]int{}, map[string]bool{}
}

// statistics writes what is known at last of each interface of a section.
func (t *Tape) statistics() {
	at := max(t.mark, t.skipped)
	told := map[netns.ID]bool{}
	for ; t.counted < len(t.counts) && t.err == nil; t.counted++ {
		c := t.counts[t.counted]
		s := pcapng.Statistics{Interface: t.counted, Time: at, Start: t.began, End: at, Received: c.received, HasReceived: true, HasDropped: true}
		// One ring serves all links of a namespace: what it lost is told once.
		if !told[c.namespace] {
			told[c.namespace] = true
			s.Dropped = t.drops[c.namespace]
			delete(t.drops, c.namespace)
			s.Comments = []string{"drops are those of all links of the namespace"}
		}
		t.keep(t.w.Statistics(&s))
	}
}

// end writes what is known of each interface at last, and closes the file.
func (t *Tape) end() {
	if t.file == nil {
		return
	}
	t.statistics()
	if t.err == nil {
		t.keep(t.w.Flush())
	}
	t.keep(t.file.Close())
	t.file = nil
}

// names writes the names of addresses that the file has not got yet.
func (t *Tape) names() {
	if t.err != nil || t.known.topology == nil {
		return
	}
	var n pcapng.Names
	for _, c := range t.known.topology.Containers {
		for _, e := range c.Endpoints {
			for _, p := range e.Addresses {
				if key := p.Addr().String() + " " + c.Name; p.IsValid() && !t.named[key] {
					t.named[key] = true
					n.Entries = append(n.Entries, pcapng.Name{Address: p.Addr().WithZone(""), Names: []string{clean(c.Name)}})
				}
			}
		}
	}
	if len(n.Entries) > 0 {
		t.keep(t.w.Names(n))
	}
}

// interrupted notes that the correlator found the clock set back by itself.
func (t *Tape) interrupted() {
	t.settle(math.MaxInt64)
	t.note(kindInterrupt, interrupt{"the clock was set back meanwhile"})
	t.mark, t.skipped, t.completed, t.flushed, t.began = t.Now(), 0, 0, 0, 0
}
