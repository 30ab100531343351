package live

import (
	"testing"
	"time"
)

func TestWallClockThatIsSet(t *testing.T) {
	c := newWallClock()
	for _, step := range []struct{ wall, monotonic, want time.Duration }{
		{1 * time.Second, 1 * time.Second, 0},
		{2*time.Second + time.Millisecond, 2 * time.Second, 0}, // slewed
		{3602 * time.Second, 3 * time.Second, 3599*time.Second - time.Millisecond},
		{3603 * time.Second, 4 * time.Second, 0}, // it stays set
		{5 * time.Second, 5 * time.Second, -3599 * time.Second},
	} {
		if got := c.compare(step.wall, step.monotonic); got != step.want {
			t.Errorf("after %v by the monotonic clock: stepped by %v, want %v", step.monotonic, got, step.want)
		}
	}
	running := newWallClock()
	if by := running.stepped(); by != 0 {
		t.Errorf("a clock that nobody set stepped by %v", by)
	}
}
