package record

import "natlens/trace"

// picked says which journeys a watch's filter picked. It stands before the mark at
// which they were told.
type picked struct {
	IDs []uint64 `json:",omitempty"`
	// Amended are records that replace an earlier one: the new number, the old one,
	// and which amendment it is, its first and nth. Early files have no more than the
	// numbers. Unseen are journeys of which no tap saw a packet, and their times; they
	// are numbered when they are told, too.
	Amended [][4]uint64 `json:",omitempty"`
	Unseen  []unseen    `json:",omitempty"`
}

type unseen struct {
	ID   uint64
	Time int64
}

// add adds a journey; as is which amendment it is, if it is one.
func (p *picked) add(j *trace.Journey, as amendment) {
	switch {
	case len(j.Hops) == 0:
		p.Unseen = append(p.Unseen, unseen{j.ID, j.Time})
	case j.Supersedes != 0:
		p.Amended = append(p.Amended, [4]uint64{j.ID, j.Supersedes, as.first, as.nth})
	default:
		p.IDs = append(p.IDs, j.ID)
	}
}

func (p *picked) empty() bool { return len(p.IDs)+len(p.Amended)+len(p.Unseen) == 0 }

// choice is what is known of the picked journeys while a file is played.
type choice struct {
	ids    rememberedSet[uint64]
	made   amendments                // by the numbers that they have here
	picked map[amendment]replacement // and not told yet
	unseen map[int64][]uint64
}

// replacement is what the watch called a record, and that which it replaced.
type replacement struct{ id, supersedes uint64 }

func newChoice() *choice {
	return &choice{ids: newRememberedSet[uint64](keepNames), made: amendments{}, picked: map[amendment]replacement{}, unseen: map[int64][]uint64{}}
}

func (c *choice) learn(p *picked) {
	for _, id := range p.IDs {
		c.ids.add(id)
	}
	for _, a := range p.Amended {
		as := amendment{a[2], a[3]}
		if as.nth == 0 {
			as = amendment{a[1], 1}
		}
		c.picked[as] = replacement{a[0], a[1]}
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
		as := c.made.of(j)
		was, ok := c.picked[as]
		if !ok {
			return false
		}
		delete(c.picked, as)
		j.ID, j.Supersedes = was.id, was.supersedes
		return true
	}
	return c.ids.has(j.ID)
}
