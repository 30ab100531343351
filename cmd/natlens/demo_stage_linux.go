package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"natlens/internal/lab"
	"natlens/internal/live"
	"natlens/trace"
)

// actPatience bounds the wait for what an act is to show, so that a story goes on
// where a packet was lost.
const actPatience = 10 * time.Second

// calm is how long nothing changes on a host that has settled.
const calm = 100 * time.Millisecond

// stage is where the acts of a step are played while a watch runs. It stands
// before the watch's screen, so that what is typed stands between the packets
// where it belongs. Its screen's methods and play run on different goroutines.
type stage struct {
	player *player
	acts   []lab.Act

	mu      sync.Mutex // guards the rest, and printing
	screen  screen
	shown   int
	events  int           // whatever changed
	changed chan struct{} // holds one token when something was shown
}

func newStage(p *player, acts []lab.Act) *stage {
	return &stage{player: p, acts: acts, changed: make(chan struct{}, 1)}
}

// around puts the stage before a screen, and returns what to show journeys on.
func (s *stage) around(under screen) screen {
	s.screen = under
	return s
}

// play plays the acts. Each begins when all of the one before has been shown.
func (s *stage) play(ctx context.Context) error {
	expected := 0
	for i, act := range s.acts {
		if i > 0 {
			if err := s.player.turn(ctx, s.print); err != nil {
				return err
			}
		}
		if err := s.print(elsewhere + act.Typed + "\n"); err != nil {
			return err
		}
		if err := act.Do(ctx, s.player.host); err != nil {
			return fmt.Errorf("%s: %w", act.Typed, err)
		}
		expected += act.Shown
		s.await(ctx, expected)
		s.settle(ctx)
	}
	return nil
}

// print prints between the packets.
func (s *stage) print(words string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.screen.Flush(); err != nil {
		return err
	}
	return s.player.print(words)
}

// await returns when so many were shown, or it took too long.
func (s *stage) await(ctx context.Context, expected int) {
	late := time.NewTimer(actPatience)
	defer late.Stop()
	for {
		s.mu.Lock()
		enough := s.shown >= expected
		s.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-s.changed:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// settle waits, when the host has changed, until it does so no more: what natlens
// says of packets then rests on the host as it is.
func (s *stage) settle(ctx context.Context) {
	for seen := 0; ; {
		s.mu.Lock()
		now := s.events
		s.mu.Unlock()
		if now == seen || ctx.Err() != nil {
			return
		}
		seen = now
		time.Sleep(calm)
	}
}

func (s *stage) Journey(j *trace.Journey) error {
	return s.show(true, func() error { return s.screen.Journey(j) })
}

func (s *stage) Event(r live.Record) error {
	// What changes may change again at once; what comes or goes does so once.
	counts := r.Change != nil && r.Change.Action != "changed"
	return s.show(counts, func() error {
		s.events++
		return s.screen.Event(r)
	})
}

func (s *stage) show(counts bool, print func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := print()
	if counts {
		s.shown++
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return err
}

func (s *stage) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.Flush()
}

func (s *stage) Summary(n live.Summary, f *live.Follow) error { return s.screen.Summary(n, f) }
