package cost

import (
	"testing"
	"time"
)

// work keeps a processor busy for that long, however seldom it gets one.
func work(d time.Duration) {
	for end := ofThread() + d; ofThread() < end; {
		continue
	}
}

func TestOf(t *testing.T) {
	const much, little = 40 * time.Millisecond, 20 * time.Millisecond
	if spent := Of(func() { work(much) }); spent < much {
		t.Errorf("work of %v cost %v", much, spent)
	}
	for what, f := range map[string]func(){
		"waiting": func() { time.Sleep(much) },
		"what another one does": func() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				Of(func() { work(much) })
			}()
			<-done
		},
	} {
		if spent := Of(f); spent > little {
			t.Errorf("%s cost %v", what, spent)
		}
	}
}
