package netfilter

// Renumbering is what connection tracking does to the sequence numbers of one direction
// of a TCP connection, where a SYN proxy answered in the server's place with a number of
// its own, or a helper changed the length of what was said. It is added to them where a
// packet leaves the hooks, and taken from what the other direction acknowledges
// (nf_ct_seq_adjust in net/netfilter/nf_conntrack_seqadj.c).
type Renumbering struct {
	// Position is a sequence number as its sender has it. After is added to those behind
	// it, Before to the others.
	Position      uint32
	Before, After int32
}

// of is what is added to a sequence number.
func (r Renumbering) of(number uint32) int32 {
	if int32(number-r.Position) > 0 {
		return r.After
	}
	return r.Before
}

// Renumbers reports whether the numbers of a direction change.
func (f *Flow) Renumbers() bool { return f.Renumberings != [2]Renumbering{} }

// Complete takes over from what was told of the flow before what only some events tell.
func (f *Flow) Complete(before *Flow) {
	if f.Status&SeqAdjust != 0 && !f.Renumbers() {
		f.Renumberings = before.Renumberings
	}
}

// Numbers are what a TCP segment counts by.
type Numbers struct{ Sequence, Acknowledged uint32 }

// Sent returns what the numbers of a segment may have been when it was sent, the
// likeliest first; reply says in which direction that was. behind are those that it has
// behind the change. More than one fits where a helper made what was said shorter or
// longer: numbers before its place and behind it can then come out as one.
func (f *Flow) Sent(reply bool, behind Numbers) []Numbers {
	own, other := f.Renumberings[0], f.Renumberings[1]
	if reply {
		own, other = other, own
	}
	var sure, others []Numbers
	for _, s := range [2]int32{own.After, own.Before} {
		for _, a := range [2]int32{other.After, other.Before} {
			was := Numbers{behind.Sequence - uint32(s), behind.Acknowledged + uint32(a)}
			// What is acknowledged is compared as the kernel does.
			if own.of(was.Sequence) == s && other.of(was.Acknowledged-uint32(other.Before)) == a {
				sure = append(sure, was)
			} else {
				others = append(others, was)
			}
		}
	}
	return append(sure, others...)
}
