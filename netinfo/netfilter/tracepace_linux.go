package netfilter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"
)

// A rule that sets nftrace costs every packet, traced or not: the kernel asks in
// each rule and chain of every namespace whether that packet is traced, and looks at
// our rules. A host that does nothing but forward small packets loses eight in a
// hundred that way. So when there are that many packets, all tables ask in windows
// only, and are without rules for the rest of the time.
const (
	// busyPackets is how many packets a second, for each processor, all tables have
	// met together when they begin to pause. Fewer cost less than a hundredth of the
	// processors' time.
	busyPackets = 10_000
	// traceWindow is how long packets are asked for at a time, and how often it is
	// looked whether they are too many.
	traceWindow = 200 * time.Millisecond
	// tracePauses is how many windows a pause takes, in the mean. Each has a length of
	// its own, so that what comes once a second is not always in one.
	tracePauses = 4
	// windowEach is how much longer a window is for each namespace: changing their
	// tables then takes the same part of the time, however many they are.
	windowEach = 5 * time.Millisecond
	// pausedInterval is how long it takes between two reads in a pause at most: each
	// read takes time of its own, even of nothing.
	pausedInterval = 25 * time.Millisecond
	// pauseGrain is how long a pause lasts until it is told of.
	pauseGrain = traceWindow / 2
	// windowBurst is how many packets are traced at once when a window begins. The
	// others of a window come later in it: not all of them are of the flow that sends
	// just then.
	windowBurst = 10
)

// tracePace is when packets are asked for: always, or in windows.
type tracePace struct {
	enough float64   // packets a second, for each processor, with which pauses begin
	busy   bool      // in windows
	paused bool      // between two of them
	due    time.Time // when to look, or to end the pause
}

// next says what comes at the time that was due: met is the packets a second, for
// each processor, that the tables met in the window.
func (p *tracePace) next(now time.Time, window time.Duration, met float64) {
	enough := p.enough
	if p.busy {
		enough /= 2 // not to and fro
	}
	switch {
	case p.paused:
		p.paused = false
		p.due = now.Add(window)
	case met >= enough:
		p.busy, p.paused = true, true
		p.due = now.Add(time.Duration(float64(tracePauses*window) * (0.5 + rand.Float64())))
	default:
		p.busy = false
		p.due = now.Add(window)
	}
}

// limit is what each namespace traces now, of its share. Windows make up for the
// pauses between them.
func (p *tracePace) limit(share, burst int) traceLimit {
	switch {
	case p.paused:
		return traceLimit{}
	case p.busy:
		return traceLimit{rate: share * (1 + tracePauses), burst: max(1, min(windowBurst, share/4))}
	}
	return traceLimit{rate: share, burst: burst}
}

// window is how long one takes for so many namespaces.
func window(namespaces int) time.Duration {
	return max(traceWindow, time.Duration(namespaces)*windowEach)
}

// keepPace looks whether packets have become too many or few enough, and begins and
// ends pauses. The caller holds t.mu.
func (t *Tracer) keepPace() {
	now := time.Now()
	if now.Before(t.pace.due) {
		return
	}
	var met float64
	if !t.pace.paused {
		met = t.met(now) / float64(runtime.NumCPU())
	}
	t.pace.next(now, window(len(t.spaces)), met)
	// What can't be changed now is tried again at the next look: rules that stay
	// trace, and a table without rules counts as pausing until it has some.
	_ = t.spread()
}

// met returns how many packets a second the tables have met since the last look, of
// those that have traced what they may: counters are read of these alone.
func (t *Tracer) met(now time.Time) (rate float64) {
	for _, s := range t.spaces {
		took := now.Sub(s.looked).Seconds()
		if asked := float64(s.asked); asked == 0 || 2*asked < float64(s.table.limit.rate)*took {
			s.asked, s.looked, s.known = 0, now, false
			continue
		}
		packets, err := s.table.met()
		if err != nil {
			continue // the next look tells
		}
		if s.known {
			rate += float64(packets-s.met) / took
		}
		s.asked, s.looked, s.met, s.known = 0, now, packets, true
	}
	return rate
}

// spread makes each namespace ask for its share, at this pace.
func (t *Tracer) spread() error {
	var errs []error
	limit := t.limit(len(t.spaces))
	for id, s := range t.spaces {
		if s.table.limit == limit {
			continue
		}
		if err := s.table.ask(limit); err != nil {
			errs = append(errs, fmt.Errorf("limit trace of %v: %w", id, err))
			continue
		}
		s.asked, s.looked, s.met, s.known = 0, time.Now(), 0, true
	}
	t.pauses.set(t.resting())
	return errors.Join(errs...)
}

// resting reports whether a namespace asks for nothing.
func (t *Tracer) resting() bool {
	for _, s := range t.spaces {
		if s.table.limit.rate == 0 {
			return true
		}
	}
	return false
}

// pauses is how long nothing was asked for, as a HitBatch tells it.
type pauses struct {
	since time.Time     // of the one that lasts, or when it was told last; zero: none does
	took  time.Duration // of what ended since it was told
	began int64         // when the last one began, if that is not told yet
}

// set says whether there is a pause from now on.
func (p *pauses) set(paused bool) {
	switch {
	case paused && p.since.IsZero():
		p.since, p.began = time.Now(), now()
	case !paused && !p.since.IsZero():
		p.took += time.Since(p.since)
		p.since = time.Time{}
	}
}

// take returns what was not told yet; of a pause that lasts not each moment.
func (p *pauses) take() (took time.Duration, began int64) {
	if now := time.Now(); !p.since.IsZero() && now.Sub(p.since) >= pauseGrain {
		p.took += now.Sub(p.since)
		p.since = now
	}
	took, began = p.took, p.began
	p.took, p.began = 0, 0
	return took, began
}
