package pcapng

import (
	"math"
	"math/bits"
)

// clock turns an interface's timestamps into nanoseconds since the Unix epoch
// (if_tsresol and if_tsoffset).
type clock struct {
	places uint8 // the unit is 10 to the power of minus this
	binary bool  // or 2 to the power of minus this
	offset int64 // seconds, to be added
}

// ns converts a timestamp. What does not fit is cut to what does.
func (c clock) ns(timestamp uint64) int64 {
	var t uint64
	switch {
	case c.binary:
		// timestamp × 10⁹ is shifted down by up to 127 places.
		high, low := bits.Mul64(timestamp, 1e9)
		switch s := uint(c.places); {
		case s >= 64:
			t = high >> (s - 64)
		case high>>s != 0:
			t = math.MaxUint64
		default:
			t = high<<(64-s) | low>>s
		}
	case c.places <= 9:
		high, low := bits.Mul64(timestamp, powersOfTen[9-c.places])
		if t = low; high != 0 {
			t = math.MaxUint64
		}
	case c.places <= 9+19:
		t = timestamp / powersOfTen[c.places-9]
	}
	return plusSeconds(int64(min(t, math.MaxInt64)), c.offset)
}

// powersOfTen are those that fit into 64 bits.
var powersOfTen = func() (p [20]uint64) {
	p[0] = 1
	for i := range p[1:] {
		p[i+1] = p[i] * 10
	}
	return p
}()

func plusSeconds(ns, seconds int64) int64 {
	const most = int64(math.MaxInt64) / 1e9
	seconds = min(max(seconds, -most), most)
	sum := ns + seconds*1e9
	if seconds > 0 && sum < ns {
		return math.MaxInt64
	}
	return sum
}
