package capture

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/netinfo/netns"
)

func TestRingsSeeEveryPacketAtBothEnds(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left, c.right)
	conn := c.dial(t)
	const sent = 300
	want := make(map[sighting]int)
	for n := range sent {
		_, err := conn.Write(payload(n))
		must(t, err)
		want[sighting{n, Point{c.left.ID(), c.leftIndex, Out}, Outgoing}] = 1
		want[sighting{n, Point{c.right.ID(), c.rightIndex, In}, Host}] = 1
	}
	r.stop(t)
	if diff := cmp.Diff(want, r.sightings()); diff != "" {
		t.Errorf("sightings (-want +got):\n%s", diff)
	}
	prints := make(map[int]uint64)
	for i := range r.seen {
		o := &r.seen[i]
		n, ok := number(o)
		if !ok {
			continue
		}
		if want := uint32(14 + 20 + 8 + len(payload(n))); o.WireLength != want {
			t.Errorf("datagram %d: wire length %d, want %d", n, o.WireLength, want)
		}
		if want := min(int(o.WireLength), DefaultSnaplen); len(o.Data) != want {
			t.Errorf("datagram %d: %d bytes, want %d", n, len(o.Data), want)
		}
		if first, ok := prints[n]; ok && first != o.Fingerprint {
			t.Errorf("datagram %d: fingerprints differ at the two ends", n)
		}
		prints[n] = o.Fingerprint
	}
	if len(r.lostIn) != 0 {
		t.Errorf("lost %v", r.lostIn)
	}
}

func TestRingsLeaveNothingUnaccounted(t *testing.T) {
	c := newCable(t)
	// A quarter of this is the smallest ring.
	r := record(t, Config{Budget: 4 * minimalGeometry(DefaultSnaplen).size()}, c.left)
	conn := c.dial(t)
	r.gate.Lock()
	const sent = 20_000
	for n := range sent {
		_, err := conn.Write(payload(n))
		must(t, err)
	}
	r.gate.Unlock()
	r.stop(t)
	delivered := len(r.sightings())
	if r.lostIn[c.left.ID()] == 0 {
		t.Error("nothing was lost: the test did not stall the reader long enough")
	}
	if delivered != len(r.seen) || delivered+r.lostIn[c.left.ID()] != sent {
		t.Errorf("%d delivered (of %d packets in all) and %d lost, %d were sent", delivered, len(r.seen), r.lostIn, sent)
	}
}

// record checks meanwhile that no packet comes later than Through says.
func TestFloodIsCountedToTheLastPacket(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left, c.right)
	const senders, each = 3, 40_000
	var group sync.WaitGroup
	for i := range senders {
		conn := c.dial(t)
		group.Go(func() {
			for n := range each {
				if _, err := conn.Write(payload(i*each + n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	r.stop(t)
	// The cable itself may drop: the right end's queue of received packets.
	left, right := 0, 0
	for s := range r.sightings() {
		if s.Namespace == c.left.ID() {
			left++
		} else {
			right++
		}
	}
	if r.lostIn[c.left.ID()]+left != senders*each {
		t.Errorf("left: %d delivered and %d lost of %d", left, r.lostIn[c.left.ID()], senders*each)
	}
	got := receivedBy(t, c.right, "right")
	if r.lostIn[c.right.ID()]+right != got {
		t.Errorf("right: %d delivered and %d lost of %d that the link received", right, r.lostIn[c.right.ID()], got)
	}
	t.Logf("%d batches, lost %v", r.batches, r.lostIn)
}

func receivedBy(t *testing.T, ns *netns.Handle, name string) int {
	t.Helper()
	link, err := handleAt(t, ns).LinkByName(name)
	must(t, err)
	return int(link.Attrs().Statistics.RxPackets)
}

func TestAttachAndDetachWhileRunning(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left)
	conn := c.dial(t)
	send := func(n int) {
		t.Helper()
		_, err := conn.Write(payload(n))
		must(t, err)
	}
	send(0)
	must(t, r.Attach(c.right))
	since := r.Since(c.right.ID())
	send(1)
	must(t, r.Detach(c.right.ID()))
	send(2)
	if got, want := r.Attached(), []netns.ID{c.left.ID()}; !cmp.Equal(got, want) {
		t.Errorf("attached: %v, want %v", got, want)
	}
	must(t, r.Attach(c.right))
	must(t, r.Attach(c.right))
	if again := r.Since(c.right.ID()); again <= since {
		t.Errorf("attached at %d, then again at %d", since, again)
	}
	send(3)
	r.stop(t)

	at := func(n int, ns netns.ID, ifindex int32, d Direction, kind PacketType) sighting {
		return sighting{n, Point{ns, ifindex, d}, kind}
	}
	want := make(map[sighting]int)
	for n := range 4 {
		want[at(n, c.left.ID(), c.leftIndex, Out, Outgoing)] = 1
	}
	for _, n := range []int{1, 3} {
		want[at(n, c.right.ID(), c.rightIndex, In, Host)] = 1
	}
	if diff := cmp.Diff(want, r.sightings()); diff != "" {
		t.Errorf("sightings (-want +got):\n%s", diff)
	}
}

func TestThroughAdvancesWhenNothingArrives(t *testing.T) {
	c := newCable(t)
	r := record(t, Config{}, c.left)
	r.waitThrough(t)
	r.waitThrough(t)
}

func TestRunGivesUpOnAReceiverThatIsGone(t *testing.T) {
	rings, err := NewRings(Config{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := rings.Run(ctx, make(chan Batch)); err == nil {
		t.Error("Run returned nil although its last Batch was not received")
	}
	if err := rings.Attach(newNamespace(t)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Attach after Run: %v, want ErrClosed", err)
	}
}
