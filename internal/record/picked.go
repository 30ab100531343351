package record

import "natlens/trace"

// picked says which journeys a watch's filter picked. It stands before the mark at
// which they were told.
type picked struct {
	IDs []uint64 `json:",omitempty"`
	// Amended are records that replace an earlier one: the new number and the old.
	// Unseen are journeys of which no tap saw a packet, and their times. Both are
	// numbered when they are told, which a file without some of the packets can't
	// say again.
	Amended [][2]uint64 `json:",omitempty"`
	Unseen  []unseen    `json:",omitempty"`
}

type unseen struct {
	ID   uint64
	Time int64
}

func (p *picked) add(j *trace.Journey) {
	switch {
	case len(j.Hops) == 0:
		p.Unseen = append(p.Unseen, unseen{j.ID, j.Time})
	case j.Supersedes != 0:
		p.Amended = append(p.Amended, [2]uint64{j.ID, j.Supersedes})
	default:
		p.IDs = append(p.IDs, j.ID)
	}
}

func (p *picked) empty() bool { return len(p.IDs)+len(p.Amended)+len(p.Unseen) == 0 }

// choice is what is known of the picked journeys while a file is played.
type choice struct {
	ids     rememberedSet[uint64]
	amended map[uint64]uint64 // the new number by the old one
	unseen  map[int64][]uint64
	numbers map[uint64]uint64 // those of the watch, by those made here
}

func newChoice() *choice {
	return &choice{ids: newRememberedSet[uint64](keepNames), amended: map[uint64]uint64{}, unseen: map[int64][]uint64{}, numbers: map[uint64]uint64{}}
}

func (c *choice) learn(p *picked) {
	for _, id := range p.IDs {
		c.ids.add(id)
	}
	for _, a := range p.Amended {
		c.amended[a[1]] = a[0]
	}
	for _, u := range p.Unseen {
		c.unseen[u.Time] = append(c.unseen[u.Time], u.ID)
	}
}

// take reports whether a journey was picked, and gives it the number that it had.
func (c *choice) take(j *trace.Journey) bool {
	switch {
	case len(j.Hops) == 0:
		ids := c.unseen[j.Time]
		if len(ids) == 0 {
			return false
		}
		j.ID = ids[0]
		if c.unseen[j.Time] = ids[1:]; len(ids) == 1 {
			delete(c.unseen, j.Time)
		}
		return true
	case j.Supersedes != 0:
		if number, ok := c.numbers[j.Supersedes]; ok {
			delete(c.numbers, j.Supersedes)
			j.Supersedes = number
		}
		id, ok := c.amended[j.Supersedes]
		if !ok {
			return false
		}
		delete(c.amended, j.Supersedes)
		if len(c.numbers) >= keepNames {
			clear(c.numbers) // none of them is replaced any more
		}
		c.numbers[j.ID] = id
		j.ID = id
		return true
	}
	return c.ids.has(j.ID)
}
