package record

import (
	"fmt"
	"io"
	"math"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/capture/pcapng"
	"natlens/netinfo/netns"
)

// clock is what is known of an origin's clock.
type clock struct {
	ahead int64 // of the first origin's, in nanoseconds; 0 when nobody knows
}

// maxCompared is how many packets of a file are compared with those of others.
const maxCompared = 1 << 17

// clockNoise is what stamps of one clock differ by that were taken at either end of
// a wire without length.
const clockNoise = int64(100 * time.Microsecond)

// look is a packet at the border of a host as a clock saw it.
type look struct {
	print uint64
	tuple packet.Tuple
}

// seen is when, one for each way: in, out, not told.
type seen [3]int64

// apart is what two origins' clocks differ by: the least that packets took from
// the one to the other, and back, each with the difference in it.
type apart struct {
	there, back int64
	packets     int
}

// compareClocks finds out by how much the clocks of hosts differ, from packets that
// both saw: one that took no time at all would tell, and one each way tells how
// wrong that can be. It reads the files twice, and so leaves out what can't be.
func compareClocks(origins []*origin, r *Recording, warn func(string)) {
	looks := make([]map[look]seen, len(origins))
	for i := range origins {
		looks[i] = map[look]seen{}
		files := r.foreign
		if !origins[i].foreign {
			files = nil
			for _, s := range r.hosts[i].sessions {
				files = append(files, s...)
			}
		}
		for _, f := range files {
			f.scan(looks[i])
		}
	}
	known := make([]bool, len(origins))
	known[0] = true
	for range origins { // a host may share packets only with one that is compared late
		for i, a := range origins {
			for k, b := range origins {
				if !known[i] || known[k] {
					continue
				}
				d := compare(looks[i], looks[k])
				ahead, within := d.ahead()
				if d.packets == 0 {
					continue
				}
				known[k] = true
				if b.clock.ahead = a.clock.ahead + ahead; ahead != 0 && warn != nil {
					warn(d.sentence(a, b, ahead, within))
				}
			}
		}
	}
}

// scan notes when packets passed the border. The file is read from its beginning,
// and then stands where it stood.
func (o *opened) scan(looks map[look]seen) {
	file, ok := o.In.(io.ReadSeeker)
	if !ok || o.start < 0 {
		return
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return
	}
	defer func() { _, _ = file.Seek(at, io.SeekStart) }() // else reading on fails, and says so
	if _, err = file.Seek(o.start, io.SeekStart); err != nil {
		return
	}
	f, err := openFile(File{Name: o.Name, In: file})
	for n := 0; n < maxCompared && f != nil && err == nil; {
		var b pcapng.Block
		if b, err = f.next(); err != nil {
			return // playing says why
		}
		switch b := b.(type) {
		case *pcapng.Section:
			if f.further = b; f.header != nil {
				f, err = f.following(nil)
			}
		case *pcapng.Interface:
			f.links = append(f.links, b.LinkType)
		case *pcapng.Local:
			if f.header == nil && f.further != nil {
				return
			}
			if at, err := decode[place](b); b.Kind == kindInterface && err == nil {
				f.places[at.Interface] = at
			}
		case *pcapng.Packet:
			n++
			if f.header == nil || o.border(f.places[b.Interface-f.first].Namespace) {
				if link, ok := f.links[b.Interface-f.first].Parser(); ok {
					note(looks, b, link)
				}
			}
		}
	}
}

// border reports whether packets of a namespace can come from other hosts.
func (o *opened) border(ns netns.ID) bool {
	return o.topology == nil || ns.Inode() == o.topology.Self.Inode()
}

func note(looks map[look]seen, b *pcapng.Packet, link packet.LinkType) {
	var h packet.Headers
	h.Parse(link, b.Data, b.WireLength)
	if !h.IsIP() || h.Layers.Has(packet.LayerFragment) || h.Tuple.Destination().IsMulticast() {
		return
	}
	way := 2
	switch typ := packetType(b); typ {
	case capture.Outgoing:
		way = 1
	case capture.UnknownType:
	default:
		way = 0
	}
	key := look{packet.Fingerprint(&h, b.Data), h.Tuple}
	s := looks[key]
	switch {
	case s[way] == 0:
		s[way] = b.Time
	case s[way] > 0 && max(s[way]-b.Time, b.Time-s[way]) > int64(100*time.Millisecond):
		s[way] = -1 // another packet that looks the same
	case way == 1:
		s[way] = max(s[way], b.Time) // at the last link before the wire
	case s[way] > 0:
		s[way] = min(s[way], b.Time)
	}
	looks[key] = s
}

// compare compares what two origins saw.
func compare(a, b map[look]seen) apart {
	d := apart{there: math.MaxInt64, back: math.MaxInt64}
	for key, x := range a {
		y, both := b[key]
		if !both {
			continue
		}
		in := func(s, other seen) int64 { // as far as it is told
			if s[0] == 0 && other[1] > 0 {
				return s[2]
			}
			return s[0]
		}
		out := func(s, other seen) int64 {
			if s[1] == 0 && other[0] > 0 {
				return s[2]
			}
			return s[1]
		}
		if left, came := out(x, y), in(y, x); left > 0 && came > 0 {
			d.there = min(d.there, came-left)
			d.packets++
		}
		if left, came := out(y, x), in(x, y); left > 0 && came > 0 {
			d.back = min(d.back, came-left)
			d.packets++
		}
	}
	return d
}

// ahead is by how much the second clock is ahead of the first, and how wrong that
// can be; 0 when they agree as far as can be told.
func (d apart) ahead() (ahead, within int64) {
	there, back := d.there != math.MaxInt64, d.back != math.MaxInt64
	switch {
	case there && back:
		ahead, within = (d.there-d.back)/2, (d.there+d.back)/2
		if max(ahead, -ahead) <= max(within, -within)+clockNoise {
			return 0, 0
		}
		return ahead, max(within, -within)
	case there && (d.there < 0 || d.there > clockSlack):
		return d.there, -1
	case back && (d.back < 0 || d.back > clockSlack):
		return -d.back, -1
	}
	return 0, 0
}

// sentence says so.
func (d apart) sentence(a, b *origin, ahead, within int64) string {
	which, by := "ahead of", ahead
	if ahead < 0 {
		which, by = "behind", -ahead
	}
	s := fmt.Sprintf("the clock of %s is %v %s that of %s", b.label, short(by), which, a.label)
	if within >= 0 {
		return s + fmt.Sprintf(", give or take %v: %d packets that both saw tell. Times are each host's own", short(within), d.packets)
	}
	return s + fmt.Sprintf(" or so: %d packets tell that went one way. Times are each host's own", d.packets)
}

// short leaves out digits that tell nothing.
func short(ns int64) time.Duration {
	d := time.Duration(ns)
	switch {
	case d > time.Second:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
