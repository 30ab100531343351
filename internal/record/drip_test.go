package record

import (
	"testing"
	"time"
)

// Time passes where nothing comes from a capture that runs, not where an old file
// stalls on its way.
func TestTimePassesWhereNothingComes(t *testing.T) {
	silent := 6 * time.Second
	arrived := time.Now().Add(-silent)
	for name, test := range map[string]struct {
		behind time.Duration
		passes bool
	}{
		"live": {300 * time.Millisecond, true}, "a clock that is ahead": {-time.Second, true},
		"just written": {time.Minute, false}, "old": {365 * 24 * time.Hour, false}, "of another clock": {-time.Hour, false},
	} {
		l := &lane{last: arrived.Add(-test.behind).UnixNano(), drip: &drip{arrived: arrived}}
		if passed := time.Duration(l.time() - l.last); (passed >= silent) != test.passes || !test.passes && passed != 0 {
			t.Errorf("%s: %v pass in %v", name, passed, silent)
		}
	}
	if l := (&lane{last: 7}); l.time() != 7 {
		t.Errorf("a file that is all there is at %d, its last packet at 7", l.time())
	}
}
