package trace

import "natlens/capture"

// loopedBack is why an answer ends that loopsBack.
const loopedBack = "its destination becomes ::1 again, which asked, and the kernel has no route to that for what comes in by a link: " +
	"a port that is published without docker-proxy can't be reached by ::1"

// loopsBack reports whether NAT makes the loopback address of IPv6 the destination of what
// comes in by a link. The kernel routes it nowhere (RFC 4291, section 2.5.3), and has no
// setting like route_localnet of IPv4.
func (s *sighting) loopsBack() bool {
	f := s.flow.flow
	if f == nil || s.flow.about || s.point.Direction != capture.In || s.link == nil || s.link.loop {
		return false
	}
	to := f.direction(s.flow.reply).after.Destination()
	return to.Is6() && to.IsLoopback()
}
