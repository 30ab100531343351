package main

import (
	"fmt"
	"time"

	"natlens/internal/live"
	"natlens/internal/view/jsonl"
	"natlens/internal/view/text"
	"natlens/trace"
)

// screen is a live.Screen that can also show the account at the end.
type screen interface {
	live.Screen
	Summary(live.Summary, *live.Follow) error
}

func (a *app) newScreen(json bool, d text.Detail, names bool) screen {
	if json {
		return &jsonScreen{app: a}
	}
	style := a.style()
	style.Names = names
	s := &textScreen{app: a, style: style, detail: d, printer: text.NewPrinter(style, d)}
	if a.terminal.interactive && !d.Quiet && !d.Verbose {
		s.flood = text.NewFlood(s.printer)
	}
	return s
}

// textScreen shows cards and lines on standard output, the account on standard
// error. Output is gathered while more waits to be shown.
type textScreen struct {
	app     *app
	style   text.Style
	detail  text.Detail
	printer *text.Printer
	flood   *text.Flood // nil where nobody reads along, or every packet was asked for
	gathered
}

func (s *textScreen) Journey(j *trace.Journey) error {
	if s.flood != nil {
		return s.add(s.app, []byte(s.flood.Journey(j, time.Now())), nil)
	}
	return s.add(s.app, []byte(s.printer.Journey(j)), nil)
}

func (s *textScreen) Event(r live.Record) error {
	switch {
	case r.ARP != nil:
		return s.add(s.app, []byte(s.style.ARP(s.detail, r.ARP)), nil)
	case r.Change != nil:
		return s.add(s.app, []byte(s.style.Change(s.detail, r.Change, r.At)), nil)
	}
	return nil
}

func (s *textScreen) Flush() error {
	if s.flood != nil {
		s.pending = append(s.pending, s.flood.Tick(time.Now())...)
	}
	return s.flush(s.app)
}

func (s *textScreen) Summary(n live.Summary, f *live.Follow) error {
	words := s.style.Summary(n.Counters, f.Hidden)
	if f.Match != nil && f.Shown != n.Journeys {
		words = s.style.SummaryOf(f.Shown, n.Counters, f.Hidden)
	}
	_, err := fmt.Fprint(s.app.stderr, words)
	return err
}

// jsonScreen writes JSON Lines, the summary last.
type jsonScreen struct {
	app *app
	gathered
}

func (s *jsonScreen) Journey(j *trace.Journey) error {
	s.pending = jsonl.AppendJourney(s.pending, j)
	return s.flushIfEnough(s.app)
}

func (s *jsonScreen) Event(r live.Record) error {
	var line []byte
	var err error
	switch {
	case r.ARP != nil:
		line, err = jsonl.ARP(r.ARP)
	case r.Change != nil:
		line, err = jsonl.Change(r.Change, r.At)
	}
	return s.add(s.app, line, err)
}

func (s *jsonScreen) Flush() error { return s.flush(s.app) }

func (s *jsonScreen) Summary(n live.Summary, f *live.Follow) error {
	line, err := jsonl.Summary(n.Counters, f.Hidden, n.Duration.Round(time.Millisecond))
	if err := s.add(s.app, line, err); err != nil {
		return err
	}
	return s.flush(s.app)
}

// gathered is output that waits to be written in one piece.
type gathered struct{ pending []byte }

// enough is when output is written though more waits to be shown.
const enough = 32 << 10

func (g *gathered) add(a *app, text []byte, err error) error {
	if err != nil {
		return err
	}
	g.pending = append(g.pending, text...)
	return g.flushIfEnough(a)
}

func (g *gathered) flushIfEnough(a *app) error {
	if len(g.pending) < enough {
		return nil
	}
	return g.flush(a)
}

func (g *gathered) flush(a *app) error {
	if len(g.pending) == 0 {
		return nil
	}
	_, err := a.stdout.Write(g.pending)
	g.pending = g.pending[:0]
	return err
}

// silentScreen shows nothing but the account at the end.
type silentScreen struct{ screen }

func (silentScreen) Journey(*trace.Journey) error { return nil }
func (silentScreen) Event(live.Record) error      { return nil }
