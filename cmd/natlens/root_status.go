package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/spf13/cobra"
)

// Exit statuses, a contract with scripts.
const (
	statusDone         = 0
	statusFailed       = 1
	statusUsage        = 2 // wrong usage
	statusNotPermitted = 3 // this host or user does not permit it
	statusProbeFailed  = 4 // the probe itself failed, nothing is said about the network
)

// usageError is a command line that makes no sense. It ends the program with
// statusUsage and the command to read.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usageError.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// notPermitted is something that this host or user does not permit. It ends
// the program with statusNotPermitted. Advice is whole lines to print after
// the error: what to run instead, and what works without.
type notPermitted struct {
	err    error
	advice []string
}

func (e *notPermitted) Error() string { return e.err.Error() }
func (e *notPermitted) Unwrap() error { return e.err }

// exitStatus ends the program with that status and no message: everything has
// been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("status %d", int(s)) }

// probeFailed ends the program with statusProbeFailed.
type probeFailed struct{ err error }

func (e *probeFailed) Error() string { return e.err.Error() }
func (e *probeFailed) Unwrap() error { return e.err }

// report says what went wrong, on standard error, and returns the exit status.
func (a *app) report(cmd *cobra.Command, err error) int {
	var (
		status exitStatus
		denied *notPermitted
		wrong  *usageError
		probe  *probeFailed
	)
	switch {
	case err == nil, errors.Is(a.stdout.err, errOutputClosed) && onlyStopped(err):
		return statusDone
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(a.stderr, "natlens: interrupted")
		if errors.As(err, &probe) {
			return statusProbeFailed
		}
		return statusFailed
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &wrong), !a.running:
		if wrong == nil {
			err = apart(err)
		}
		if wrong == nil && cmd.HasParent() { // cobra and pflag don't say which command
			err = fmt.Errorf("%s: %w", cmd.Name(), err)
		}
		fmt.Fprintf(a.stderr, "natlens: %v\n  see: %s\n", err, helpFor(cmd))
		return statusUsage
	case errors.As(err, &denied):
		fmt.Fprintf(a.stderr, "natlens: %v\n", err)
		for _, line := range denied.advice {
			fmt.Fprintln(a.stderr, line)
		}
		return statusNotPermitted
	case errors.As(err, &probe):
		fmt.Fprintf(a.stderr, "natlens: %v\n", err)
		return statusProbeFailed
	case errors.Is(err, os.ErrPermission), errors.Is(err, errors.ErrUnsupported):
		fmt.Fprintf(a.stderr, "natlens: %v\n", err)
		return statusNotPermitted
	}
	fmt.Fprintf(a.stderr, "natlens: %v\n", err)
	return statusFailed
}

// flagGroup is what cobra says of flags that exclude each other.
var flagGroup = regexp.MustCompile(`^if any flags in the group \[.*\] are set none of the others can be; \[(\S+) (\S+)\] were all set$`)

// apart says of two flags that they don't go together, where that is what is wrong.
func apart(err error) error {
	if m := flagGroup.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("--%s and --%s do not go together", m[1], m[2])
	}
	return err
}

// onlyStopped reports whether err says no more than that the command's context
// ended or that its output was closed.
func onlyStopped(err error) bool {
	return errors.Is(err, errOutputClosed) || errors.Is(err, context.Canceled)
}

func helpFor(cmd *cobra.Command) string {
	if !cmd.HasParent() || cmd.Name() == "help" {
		return cmd.Root().CommandPath() + " help"
	}
	return cmd.Root().CommandPath() + " help " + cmd.Name()
}
