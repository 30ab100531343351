package live

import (
	"errors"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/trace"
)

type fakeScreen struct {
	journeys []uint64
	events   int
	flushed  int
	err      error
}

func (s *fakeScreen) Journey(j *trace.Journey) error {
	s.journeys = append(s.journeys, j.ID)
	return s.err
}
func (s *fakeScreen) Event(Record) error { s.events++; return nil }
func (s *fakeScreen) Flush() error       { s.flushed++; return nil }

func follow(t *testing.T, f *Follow, screen *fakeScreen) (stopped bool, err error) {
	t.Helper()
	records := make(chan Record, 16)
	for id := range uint64(5) {
		records <- Record{Journey: &trace.Journey{ID: id + 1, Protocol: packet.ICMP}}
	}
	records <- Record{Change: &netinfo.Change{Kind: "link"}}
	close(records)
	err = f.Run(records, screen, func() { stopped = true })
	return stopped, err
}

func TestFollowShowsWhatMatches(t *testing.T) {
	screen := &fakeScreen{}
	f := &Follow{Match: func(j *trace.Journey) bool { return j.ID%2 == 1 }}
	stopped, err := follow(t, f, screen)
	if err != nil || stopped {
		t.Errorf("stopped %v, error %v", stopped, err)
	}
	if len(screen.journeys) != 3 || f.Shown != 3 || screen.events != 0 || screen.flushed == 0 {
		t.Errorf("shown %v (%d), %d events, %d flushes", screen.journeys, f.Shown, screen.events, screen.flushed)
	}
}

func TestFollowStopsAtItsLimit(t *testing.T) {
	screen := &fakeScreen{}
	f := &Follow{Limit: 2, Events: true}
	stopped, err := follow(t, f, screen)
	if err != nil || !stopped || len(screen.journeys) != 2 || screen.flushed == 0 {
		t.Errorf("stopped %v, error %v, shown %v, %d flushes", stopped, err, screen.journeys, screen.flushed)
	}
}

func TestFollowEndsWithTheScreen(t *testing.T) {
	broken := errors.New("no screen")
	screen := &fakeScreen{err: broken}
	stopped, err := follow(t, &Follow{}, screen)
	if !errors.Is(err, broken) || !stopped || len(screen.journeys) != 1 {
		t.Errorf("stopped %v, error %v, shown %v", stopped, err, screen.journeys)
	}
}

func TestFollowWarnsInAnyCase(t *testing.T) {
	screen, said := &fakeScreen{}, ""
	records := make(chan Record, 2)
	records <- Record{Warning: "the table is full"}
	close(records)
	f := &Follow{Match: func(*trace.Journey) bool { return false }, Warn: func(s string) { said += s }}
	if err := f.Run(records, screen, func() {}); err != nil {
		t.Fatal(err)
	}
	if said != "the table is full" || screen.events != 0 {
		t.Errorf("said %q, showed %d events", said, screen.events)
	}
}
