package record

import "natlens/trace"

// journeyKey is a journey as its own watch numbered it.
type journeyKey struct {
	origin  *origin
	session int
	id      uint64
}

// renaming gives journeys of several hosts numbers that are theirs alone, in the
// order in which they are told. Parts of one journey have the same.
type renaming struct {
	last uint64
	// recent are the numbers given lately; those before them are forgotten when
	// there are enough, and what is related to them is related to nothing.
	recent, older map[journeyKey]uint64
}

// keepNames is how many numbers are remembered at least.
const keepNames = 1 << 17

func newRenaming() renaming { return renaming{recent: map[journeyKey]uint64{}} }

// of returns the number of a journey that was or will be told.
func (r *renaming) of(k journeyKey) (id uint64, known bool) {
	if id, known = r.recent[k]; !known {
		id, known = r.older[k]
	}
	return id, known
}

// name numbers the journey that has those parts.
func (r *renaming) name(parts []journeyKey) (id uint64) {
	for _, k := range parts {
		if known, ok := r.of(k); ok && id == 0 {
			id = known
		}
	}
	if id == 0 {
		r.last++
		id = r.last
	}
	if len(r.recent) >= keepNames {
		r.recent, r.older = map[journeyKey]uint64{}, r.recent
	}
	for _, k := range parts {
		r.recent[k] = id
	}
	return id
}

// reference is what one journey says of another, in its own watch's numbers.
type reference struct {
	to  journeyKey
	why string
}

// referencesOf takes what a journey refers to out of it.
func referencesOf(j *trace.Journey, k journeyKey) (refs []reference) {
	for _, r := range j.Related {
		k.id = r.ID
		refs = append(refs, reference{k, r.Why})
	}
	j.Related = nil
	return refs
}
