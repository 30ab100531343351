package record

import "natlens/trace"

// amendment is a record that replaces an earlier one of the same packet: the nth of the
// packet whose first record has that number. First records are numbered by their packets;
// what replaces them is numbered when it is told, and those numbers depend on all that was
// told, so that a file without some of the packets can't say them again.
type amendment struct{ first, nth uint64 }

// amendments remember them by their numbers. Only the last of a packet is needed.
type amendments map[uint64]amendment

// of returns which one a journey is that supersedes another. It must be asked once for
// each of them, in their order.
func (a amendments) of(j *trace.Journey) amendment {
	made, known := a[j.Supersedes]
	if !known {
		made.first = j.Supersedes
	}
	made.nth++
	delete(a, j.Supersedes)
	if len(a) >= keepNames {
		clear(a) // few of them are ever replaced, and soon
	}
	a[j.ID] = made
	return made
}
