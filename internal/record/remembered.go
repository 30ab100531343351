package record

// rememberedSet remembers the values that were added last, so many at least. It is
// not safe for concurrent use.
type rememberedSet[T comparable] struct {
	newest, older map[T]struct{}
	least         int
}

func newRememberedSet[T comparable](least int) rememberedSet[T] {
	return rememberedSet[T]{newest: map[T]struct{}{}, least: least}
}

// add remembers a value, and reports whether that is news.
func (s *rememberedSet[T]) add(v T) bool {
	if _, known := s.newest[v]; known {
		return false
	}
	_, known := s.older[v]
	if len(s.newest) >= s.least {
		s.newest, s.older = map[T]struct{}{}, s.newest
	}
	s.newest[v] = struct{}{}
	return !known
}

func (s *rememberedSet[T]) has(v T) bool {
	_, known := s.newest[v]
	if !known {
		_, known = s.older[v]
	}
	return known
}
