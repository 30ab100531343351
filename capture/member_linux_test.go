package capture

import (
	"testing"
)

// fakeRing is a ring whose kernel is the test.
type fakeRing struct {
	*member
	fill int // the block that the kernel fills next
}

func newFakeRing(blocks int) *fakeRing {
	g := geometry{blockSize: 4096, blocks: blocks}
	r := &ring{fd: -1, blockQueue: newBlockQueue(make([]byte, g.size()), g)}
	m := newMember(r, 1)
	m.through = 5
	return &fakeRing{member: m}
}

const (
	filling = 0
	handed  = 1
)

// write has the kernel put n packets into its block, opened at a second, and
// with status handed go on to the next.
func (f *fakeRing) write(status uint32, opened uint32, n int) {
	g := f.geometry
	list := make([]fakeFrame, n)
	for i := range list {
		list[i] = fakeFrame{seconds: opened, bytes: ethernetUDP(nil), hatype: 1}
	}
	writeBlock(f.mem[f.fill*g.blockSize:][:g.blockSize], status, opened, 0, list...)
	if status&handed != 0 {
		f.fill = (f.fill + 1) % g.blocks
	}
}

// read drains the ring at a second and returns the packets found.
func (f *fakeRing) read(now int64) (packets int) {
	f.drain(now*1e9, func(block []byte) {
		obs, _ := readBlock(1, block, 128)
		packets += len(obs)
	})
	return packets
}

func TestDrainKnowsHowFarItHasRead(t *testing.T) {
	f := newFakeRing(4)
	step := func(what string, now int64, packets int, through int64) {
		t.Helper()
		if got := f.read(now); got != packets {
			t.Errorf("%s: %d packets, want %d", what, got, packets)
		}
		if f.through != through*1e9 {
			t.Errorf("%s: through %d, want %d s", what, f.through, through)
		}
	}
	step("nothing there", 10, 0, 10)
	f.write(filling, 11, 2)
	step("the open block holds packets", 12, 0, 10)
	step("and the kernel's timer is late", 90, 0, 10)
	f.write(handed, 11, 3)
	step("handed over, the next not opened", 91, 3, 91)
	f.write(handed, 92, 1)
	f.write(filling, 93, 1)
	step("one handed over, the next holds packets", 94, 1, 93)
	f.write(handed, 93, 2)
	f.write(handed, 95, 1)
	f.write(filling, 99, 0)
	step("two handed over, the next opened and empty", 100, 3, 100)
	f.write(handed, 101, 1)
	f.write(filling, 103, 1)
	step("a block opened after the clock was read", 102, 1, 102)
}

func TestDrainReadsOneLapOfAFloodedRing(t *testing.T) {
	f := newFakeRing(3)
	for range 3 {
		f.write(handed, 20, 2)
	}
	blocks := 0
	f.drain(50e9, func([]byte) {
		if blocks++; blocks > 1 { // the kernel is quick to use the block before again
			f.write(handed, 20+uint32(blocks), 2)
		}
	})
	if blocks != 3 {
		t.Errorf("%d blocks read, want one lap of 3", blocks)
	}
	if f.through != 22e9 {
		t.Errorf("through %d, want the 22 s at which the block that is ready was opened", f.through)
	}
	if !f.suspect {
		t.Error("every block was ready, and no loss is suspected")
	}
}

func TestDrainSuspectsLossesTheKernelTellsOf(t *testing.T) {
	f := newFakeRing(3)
	f.write(handed|statusLosing, 20, 1)
	f.read(21)
	if !f.suspect {
		t.Error("TP_STATUS_LOSING is not taken for a loss")
	}
	f.suspect = false
	f.write(handed, 22, 1)
	f.read(23)
	if f.suspect {
		t.Error("a loss is suspected without reason")
	}
}

func TestReadBlocksAreWipedForTheNextLook(t *testing.T) {
	f := newFakeRing(2)
	f.write(handed, 10, 4)
	f.write(handed, 11, 4)
	if got := f.read(12); got != 8 {
		t.Fatalf("%d packets, want 8", got)
	}
	if since, held := f.held(); held {
		t.Errorf("packets of a lap ago are taken for new ones, since %d", since)
	}
}
