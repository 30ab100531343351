package live

import (
	"testing"
	"time"
)

func TestFirstWords(t *testing.T) {
	told := make(chan struct{})
	closed := func() bool {
		select {
		case <-told:
			return true
		default:
			return false
		}
	}
	f := newFirstWords(2, time.Unix(10, 0), told)
	for i, step := range []struct {
		do   func()
		want bool
	}{
		{func() { f.ruled(1) }, false},
		{func() { f.ruled(1) }, false}, // its rules changed
		{func() { f.tracked(5e9) }, false},
		{func() { f.ruled(2) }, false},
		{func() { f.tracked(11e9) }, true},
		{func() { f.tracked(12e9) }, true},
		{func() { f.ruled(3) }, true}, // one that came
	} {
		step.do()
		if got := closed(); got != step.want {
			t.Errorf("step %d: told %v, want %v", i, got, step.want)
		}
	}
}
