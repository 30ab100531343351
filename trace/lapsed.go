package trace

// dyingLag is for how long after its death a flow may still have packets that had it
// before a tap saw them: what a namespace sends meets its rules first, and its stamp
// comes when they have let it pass.
const dyingLag = 1e6

// gone reports whether the flow had died when a packet came that was first seen at that
// time. died is the end of the interval in which it did, so that no packet is later by
// mistake.
func (t *trackedFlow) gone(at int64) bool { return t.died != 0 && at > t.died+dyingLag }

// underWay gives a sighting the flow that its packet had when it came into the namespace,
// where that died meanwhile: the packet carries its entry to the last hook, however long
// it is held up before (skb->_nfct).
func (c *Correlator) underWay(e *entry, s *sighting) {
	if c.zoned && c.carriesZone(e, s) || s.flow.flow != nil {
		return
	}
	for k := range e.hops() {
		h := &e.hops()[k]
		if h.point.Namespace != s.point.Namespace || h.time > s.time {
			continue
		}
		if r := c.outlived(h, s); r.flow != nil {
			s.flow = r
			return
		}
	}
}

// outlived is the flow of a packet that was seen as a, in the direction and form in which
// b shows it, where that flow died; the zero flowRef where b is not of it.
func (c *Correlator) outlived(a, b *sighting) flowRef {
	if f := a.flow.flow; f == nil || f.died == 0 {
		return flowRef{}
	}
	if r := c.flowOf(b.point.Namespace, b.h, a.time); r.same(a.flow) {
		return r
	}
	return flowRef{}
}

// lapsed is the flow that had the packet's tuple last, and had died before it came: the
// kernel knows nothing of it any more, and neither translates by it nor lets it pass as
// one of a flow that is there.
func (c *Correlator) lapsed(s *sighting) (last flowRef) {
	x := c.flows[s.point.Namespace]
	if x == nil || isLaterPiece(s.h) || s.quotes {
		return flowRef{}
	}
	tuple := &s.h.Tuple
	for n := (*x.byTuple.head(tuple)).first(tuple); n != nil; n = n.next.first(tuple) {
		if f := n.ref.flow; f.gone(s.time) && (last.flow == nil || f.died > last.flow.died) {
			last = n.ref
		}
	}
	return last
}
