package capture

import (
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"natlens/netinfo/netns"
)

// A ring of few blocks is not full before its reader has waited for half a second: the
// kernel hands a block over, however little is in it, when its time is up.
func TestRingOfFewBlocksIsPatient(t *testing.T) {
	c := newCable(t)
	conn := c.dial(t)
	r, err := openRingIn(c.left, netns.ID(0), []bpf.Instruction{bpf.RetConstant{Val: MaxSnaplen}}, geometry{blockSize: 128 << 10, blocks: 12})
	must(t, err)
	defer func() { must(t, r.close()) }()
	must(t, r.start())
	sent := 0
	for begun := time.Now(); time.Since(begun) < 400*time.Millisecond; time.Sleep(time.Millisecond) {
		_, err := conn.Write(payload(sent))
		must(t, err)
		sent++
	}
	if lost, err := r.losses(); err != nil || lost > 0 {
		t.Errorf("lost %d of %d packets, %v", lost, sent, err)
	}
}
