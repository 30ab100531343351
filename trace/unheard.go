package trace

// hearAgain looks for the flows of a journey whose packets were judged before
// connection tracking had been read up to their time: on a busy host it can come
// later than packets may wait for it.
func (c *Correlator) hearAgain(e *entry) {
	known := true
	for i := range e.hops {
		s := &e.hops[i]
		if s.flow.flow == nil {
			s.flow = c.flowOf(s.point.Namespace, s.h, s.time)
			if r := s.flow; r.flow != nil && s.time <= r.flow.bornBefore && !r.reply && !r.about {
				r.flow.begin(e.id, s.h)
			}
		}
		known = known && (s.flow.flow != nil || !c.tracks(s))
	}
	if known {
		e.inferred = false
	}
}
