package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/live"
	"natlens/internal/view/text"
	"natlens/netinfo"
	"natlens/trace"
)

func newDemoCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Shows a ping through NAT on a host made for it",
		Long: "Builds a Docker-like host out of network namespaces of its own, lets a container\n" +
			"ping through its masquerade and a client fetch through its published port, shows\n" +
			"the packets of both directions, and removes everything. It needs no root, no\n" +
			"Docker and no other program, and sends nothing to any network.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lab.Inside() {
				return a.playDemo(cmd.Context(), lab.Scenarios()[0])
			}
			return a.enterDemo(cmd)
		},
	}
	return cmd
}

// enterDemo runs this command again, inside namespaces of its own.
func (a *app) enterDemo(cmd *cobra.Command) error {
	status, err := lab.Run(cmd.Context(), a.args...)
	switch {
	case errors.Is(err, lab.ErrForbidden):
		return a.notPermitted(cmd, err)
	case err != nil:
		return err
	case status != 0:
		return exitStatus(status)
	}
	return nil
}

// playDemo is the demo itself, alone on a host that it builds.
func (a *app) playDemo(ctx context.Context, s lab.Scenario) (err error) {
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
	session, err := live.Open(ctx, live.Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		return err
	}
	style := a.style()
	width := min(style.Columns(), 100)
	fmt.Fprintln(a.stdout, strings.Join(text.Wrap("A host made of namespaces: "+s.Title+".", width), "\n"))
	detail := text.Detail{NoTime: true}
	screen := &textScreen{app: a, style: style, detail: detail, printer: text.NewPrinter(style, detail)}
	err = a.runSession(ctx, session, &live.Follow{Match: ofTheStory}, screen, 0, func(ctx context.Context) error {
		err := s.Play(ctx, host)
		// The last packets are still on their way to the screen.
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, sentence := range s.Sentences {
		fmt.Fprintln(a.stdout, strings.Join(text.Wrap(sentence, width), "\n"))
	}
	return nil
}

// settle is longer than a packet whose end was seen takes to the screen.
const settle = 150 * time.Millisecond

// ofTheStory leaves out what repeats: of a connection, its opening and its data
// say all; acknowledgements and its end go the same way. Bridges also look for
// multicast listeners, which is another story.
func ofTheStory(j *trace.Journey) bool {
	switch j.Protocol {
	case packet.ICMP:
		return true
	case packet.TCP:
		h := &j.Hops[0].Headers
		return h.TCPFlags&packet.SYN != 0 || h.PayloadLength > 0
	}
	return false
}
