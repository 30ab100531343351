package main

import (
	"errors"
	"strconv"
	"time"
)

// seconds is a flag's span of time: 500ms, 2s, or a number of seconds.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }

// Type is pflag's word for it.
func (s *seconds) Type() string { return "duration" }

// Set takes what was typed.
func (s *seconds) Set(typed string) error {
	if n, err := strconv.ParseFloat(typed, 64); err == nil && n > -1e9 && n < 1e9 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(typed)
	if err != nil {
		return errors.New(`must be a duration like "30s" or "500ms"`)
	}
	*s = seconds(d)
	return nil
}
