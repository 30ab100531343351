package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"natlens/internal/flows"
)

// flowsOfHost shows the flows of this host, and with -f what becomes of them.
func (a *app) flowsOfHost(cmd *cobra.Command, v *flowView, expression string) error {
	if err := a.requireCapabilities(cmd, capNetAdmin, capSysAdmin); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	var failed error
	fail := func(err error) {
		if err != nil && failed == nil {
			failed = err
			stop()
		}
	}
	err := flows.Run(ctx, flows.Config{
		Host:          a.host,
		AllNamespaces: v.flags.allNamespaces, Follow: v.flags.follow,
		Known: func(t *flows.Table, asked []string) {
			fail(a.flowsKnown(v, expression, t, asked))
		},
		Changed: func(all []flows.Change) { fail(v.changes(all)) },
		Warn:    func(sentence string) { fmt.Fprintln(a.stderr, sentence) },
	})
	if errors.Is(err, os.ErrPermission) {
		return a.notPermitted(cmd, err)
	}
	return errors.Join(failed, beforeWatching(cmd.Context(), err))
}

// flowsKnown shows the table. A name that nobody has is a mistake, unless whoever has
// it may still come.
func (a *app) flowsKnown(v *flowView, expression string, t *flows.Table, asked []string) (err error) {
	if v.pick, err = a.flowFilter(expression, t); err != nil {
		return err
	}
	for _, unknown := range unknownNames(v.pick, t) {
		if !v.flags.follow {
			return usagef("flows: %s", a.style().Escape(unknown.sentence(t)))
		}
		fmt.Fprintf(a.stderr, "no %s %q yet; waiting for one\n", unknown.what, unknown.name)
	}
	if err := v.table(t); err != nil {
		return err
	}
	v.hints(t, asked)
	return nil
}
