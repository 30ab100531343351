package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"natlens/internal/lab"
	"natlens/internal/view/text"
	"natlens/netinfo"
)

// elsewhere stands before what is typed in another terminal while natlens runs.
const elsewhere = "elsewhere$ "

// player plays a scenario and shows each step as natlens's own commands do.
type player struct {
	app   *app
	host  *lab.Host
	width int
	pause *pauser // nil when nobody asked for it
}

// playDemo is the demo itself, alone on a host that it builds.
func (a *app) playDemo(ctx context.Context, s lab.Scenario, pause bool) (err error) {
	if lab.Enter() != nil {
		return exitStatus(statusFailed) // the parent says why
	}
	host, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	if err := s.Build(host); err != nil {
		return err
	}
	p := &player{app: a, host: host, width: min(a.style().Columns(), 100)}
	if pause {
		if p.pause, err = openPauser(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.pause.close()) }()
	}
	if err := p.play(ctx, s); err != nil && (ctx.Err() == nil || !errors.Is(err, context.Canceled)) {
		return err
	}
	return nil
}

func (p *player) play(ctx context.Context, s lab.Scenario) error {
	p.say("A host made of namespaces: " + s.Title + ".")
	if s.Setting != "" {
		p.say(s.Setting)
	}
	for _, step := range s.Steps {
		if err := p.turn(ctx, p.print); err != nil {
			return err
		}
		fmt.Fprintln(p.app.stdout)
		if err := p.step(ctx, step); err != nil {
			return err
		}
	}
	if err := p.turn(ctx, p.print); err != nil {
		return err
	}
	fmt.Fprintln(p.app.stdout)
	for _, sentence := range s.Sentences {
		p.say(sentence)
	}
	return nil
}

// say prints sentences of the story.
func (p *player) say(sentence string) {
	fmt.Fprintln(p.app.stdout, strings.Join(text.Wrap(sentence, p.width), "\n"))
}

func (p *player) print(s string) error {
	_, err := fmt.Fprint(p.app.stdout, s)
	return err
}

// turn waits until the reader turns the page.
func (p *player) turn(ctx context.Context, print func(string) error) error {
	if p.pause == nil {
		return nil
	}
	if err := print(prompt); err != nil {
		return err
	}
	if err := p.pause.wait(ctx); err != nil {
		return err
	}
	return print(unprompt)
}

func (p *player) step(ctx context.Context, step lab.Step) error {
	if step.Says != "" {
		p.say(step.Says)
	}
	if len(step.Natlens) == 0 {
		for _, act := range step.Acts {
			fmt.Fprintln(p.app.stdout, "$ "+act.Typed)
			if err := act.Do(ctx, p.host); err != nil {
				return fmt.Errorf("%s: %w", act.Typed, err)
			}
		}
		return nil
	}
	fmt.Fprintln(p.app.stdout, "$ "+commandLine(step.Natlens))
	inner := &app{
		args: step.Natlens, stdin: p.app.stdin, stdout: p.app.stdout, stderr: p.app.stderr,
		terminal: p.app.terminal, host: netinfo.Options{NoEngine: true},
	}
	if len(step.Acts) > 0 {
		stage := newStage(p, step.Acts)
		inner.meanwhile, inner.around = stage.play, stage.around
	}
	inner.terminal.interactive = false // a story is shown whole, however fast it goes
	root := newRootCommand(inner)
	root.SetArgs(append([]string{"--color", p.app.color}, step.Natlens...))
	root.SetIn(p.app.stdin)
	root.SetOut(p.app.stdout)
	root.SetErr(p.app.stderr)
	err := root.ExecuteContext(ctx)
	var status exitStatus
	if errors.As(err, &status) && status == statusFailed {
		return nil // a probe that did not reach is part of the story
	}
	return err
}

// commandLine is what a shell takes for natlens with these arguments.
func commandLine(words []string) string {
	line := "sudo natlens"
	for _, w := range words {
		line += " " + shellQuote(w)
	}
	return line
}
