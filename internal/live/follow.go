package live

import (
	"time"

	"natlens/trace"
)

// Screen is where a watch shows what it finds. Its methods are called by one
// goroutine; an error ends the watch.
type Screen interface {
	Journey(*trace.Journey) error
	// Event shows what is no journey: address resolution, changes of the host.
	Event(Record) error
	// Flush is called when nothing more waits to be shown, and once a second.
	Flush() error
}

// silence is how long nothing may match before a word is said about it.
const silence = 5 * time.Second

// Follow picks the records that somebody asked for and shows them.
type Follow struct {
	// Match picks journeys; nil takes all.
	Match func(*trace.Journey) bool
	// Own is hidden, and counted.
	Own Own
	// Events shows what is no journey, too.
	Events bool
	// Limit ends the watch after so many journeys; 0 never does.
	Limit int
	// Silent is called when nothing matched for 5 s, and each time that has
	// doubled; may be nil.
	Silent func(since time.Duration)
	// Warn is called with each Warning, whatever else is shown; may be nil.
	Warn func(sentence string)

	Shown, Hidden uint64
}

// Run shows records until the channel is closed. When it has seen enough, or
// the screen fails, it calls stop and goes on receiving, so that the sender can
// end. It returns the screen's first error.
func (f *Follow) Run(records <-chan Record, screen Screen, stop func()) error {
	var failed error
	wait := silence
	quiet := time.NewTimer(wait)
	defer quiet.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case r, ok := <-records:
			if failed == nil && !f.full() {
				if !ok {
					return screen.Flush()
				}
				shown, err := f.show(r, screen)
				if shown {
					wait = silence
					quiet.Reset(wait)
				}
				if err == nil && (len(records) == 0 || f.full()) {
					err = screen.Flush()
				}
				if failed = err; err != nil || f.full() {
					stop()
				}
			}
			if !ok {
				return failed
			}
		case <-second.C:
			if failed == nil && !f.full() {
				if failed = screen.Flush(); failed != nil {
					stop()
				}
			}
		case <-quiet.C:
			if f.Silent != nil && failed == nil {
				f.Silent(wait)
			}
			wait *= 2
			quiet.Reset(wait)
		}
	}
}

func (f *Follow) full() bool { return f.Limit > 0 && f.Shown >= uint64(f.Limit) }

func (f *Follow) show(r Record, screen Screen) (shown bool, err error) {
	j := r.Journey
	switch {
	case r.Warning != "":
		if f.Warn != nil {
			f.Warn(r.Warning)
		}
		return false, nil
	case j == nil && f.Events:
		return false, screen.Event(r)
	case j == nil:
		return false, nil
	case f.Own.Hides(j):
		f.Hidden++
		return false, nil
	case f.Match != nil && !f.Match(j):
		return false, nil
	}
	f.Shown++
	return true, screen.Journey(j)
}
