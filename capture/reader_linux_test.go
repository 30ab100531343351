package capture

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// Who is slow gets all of the last packets, however long that takes; who takes none any
// more is given up.
func TestLastBatchesWaitForASlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out := make(chan Batch)
		r := &reader{ctx: ctx, out: out}
		const batches = 5
		go func() {
			for range batches {
				time.Sleep(patience * 2 / 3)
				<-out
			}
		}()
		for range batches {
			if err := r.send(); err != nil {
				t.Fatal(err)
			}
		}
		if r.send() == nil {
			t.Error("it was sent to nobody")
		}
	})
}
