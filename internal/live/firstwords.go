package live

import (
	"time"

	"natlens/netinfo/netns"
)

// firstWords waits until everything that a session asks for when it begins has been
// told once. It belongs to one goroutine.
type firstWords struct {
	rules   map[netns.ID]bool // whose were read
	awaited int               // of how many namespaces they are
	since   int64             // flows were asked for before
	flows   bool
	told    chan<- struct{} // to be closed; nil when it was
}

func newFirstWords(rules int, since time.Time, told chan<- struct{}) *firstWords {
	return &firstWords{rules: map[netns.ID]bool{}, awaited: rules, since: since.UnixNano(), told: told}
}

// ruled says that the rules of a namespace were read, or can't be.
func (f *firstWords) ruled(ns netns.ID) {
	f.rules[ns] = true
	f.check()
}

// tracked says up to when connection tracking has been read. That is before any
// listening began until each namespace's table was read once.
func (f *firstWords) tracked(through int64) {
	f.flows = f.flows || through > f.since
	f.check()
}

func (f *firstWords) check() {
	if f.told != nil && f.flows && len(f.rules) >= f.awaited {
		close(f.told)
		f.told = nil
	}
}
