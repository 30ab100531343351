package capture

import (
	"errors"
	"math/bits"
	"time"
)

// ErrNoRoom is returned when the rings that are open have used up the budget.
// Detaching a namespace makes room again.
var ErrNoRoom = errors.New("the memory for rings is used up")

// geometry is the shape of one ring: so many blocks of so many bytes.
type geometry struct {
	blockSize int // a power of two, a multiple of the page size
	blocks    int
}

func (g geometry) size() int { return g.blockSize * g.blocks }

const (
	smallestBlock = 16 << 10
	largestBlock  = 1 << 20
	smallestRing  = 128 << 10
	// fewestBlocks lets the kernel fill one block while the reader empties the
	// other.
	fewestBlocks = 2
	// comfortableBlocks is the number of blocks from which on larger blocks
	// serve better than more of them. Every RetireTimeout closes a block,
	// however little is in it: on a busy host that keeps the reader waiting for
	// a processor, 64 blocks last for 640 ms, whatever their size.
	comfortableBlocks = 64
	// longestRetire is for how long at most fewer blocks stay open instead.
	longestRetire = 64 * time.Millisecond
	// frameOverhead is more than a frame has before it in a block: the block's header
	// and its own (TPACKET3_HDRLEN), with what aligns them.
	frameOverhead = 256
)

// retire is how long a block stays open that does not fill up. So all of a ring's
// blocks last as long as comfortableBlocks would, as far as that is possible.
func (g geometry) retire() time.Duration {
	return min(max(RetireTimeout, comfortableBlocks*RetireTimeout/time.Duration(g.blocks)).Truncate(time.Millisecond), longestRetire)
}

// minimalGeometry returns the smallest ring for a snap length. A block must
// hold at least one whole frame, else the kernel cuts it shorter than asked.
func minimalGeometry(snaplen int) geometry {
	g := geometry{blockSize: smallestBlock, blocks: fewestBlocks}
	for g.blockSize < snaplen+frameOverhead {
		g.blockSize *= 2
	}
	g.blocks = max(fewestBlocks, smallestRing/g.blockSize)
	return g
}

// budget shares out the memory of all rings. Rings come and go while others
// run and a ring cannot be resized, so the share of a ring depends on what is
// open when it is opened:
//
//   - the first takes a quarter: it is natlens's own namespace, where every
//     packet of every container passes two or three links;
//   - a later one, the n-th beside the first, takes 1/(8+n) of what is left, so
//     that few rings are large and many still find room;
//   - none takes less than the minimal geometry, and when that does not fit
//     there is no ring.
//
// With the default 64 MiB and snap length the first ring has 16 MiB, the next
// ones 6, 4.6 and 3.7 MiB, and there is room for about 100.
type budget struct {
	left  int
	rings int
}

// take reserves the memory of one more ring.
func (b *budget) take(snaplen int) (geometry, error) {
	share := b.left / 4
	if b.rings > 0 {
		share = b.left / (7 + b.rings)
	}
	least := minimalGeometry(snaplen)
	g := geometry{blockSize: least.blockSize}
	if fit := share / comfortableBlocks; fit > g.blockSize {
		g.blockSize = min(largestBlock, 1<<(bits.Len(uint(fit))-1))
	}
	g.blocks = max(least.blocks, share/g.blockSize)
	if g.size() > b.left {
		return geometry{}, ErrNoRoom
	}
	b.left -= g.size()
	b.rings++
	return g, nil
}

// give returns the memory of a ring that was closed.
func (b *budget) give(g geometry) {
	b.left += g.size()
	b.rings--
}
