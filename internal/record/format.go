// Package record keeps a watch in capture files, and plays files again.
//
// A Tape stands between a session and its correlator: it writes every packet
// once, when its journey has ended, and everything else that the correlator was
// told, in the same order. A Player tells it to another correlator again, which
// therefore finds the same journeys. Files of other programs hold packets alone;
// the Player makes up the little that the correlator has to know.
//
// docs/files.md describes the files.
package record

import (
	"natlens/netinfo/netns"
)

// version is that of the knowledge in a file. A reader refuses a higher one; kinds and
// fields that it does not know it ignores. So it is raised where who ignores them would
// tell what is not so: the second brought kindPicked and kindChanged.
const version = 2

// Kinds of pcapng.Local blocks. Each holds one JSON object.
const (
	kindHeader    = 1
	kindInterface = 2
	kindTopology  = 3
	kindRuleset   = 4
	kindFlows     = 5
	kindRing      = 6
	kindMark      = 7
	kindComplete  = 8
	kindLost      = 9
	kindInterrupt = 10
	kindSocket    = 11
	kindHits      = 12
	kindCounts    = 13
	kindPicked    = 14
	kindChanged   = 15
)

// header comes first in each file.
type header struct {
	Version int
	// Session tells watches apart: files with the same one continue each
	// other, in the order of Part.
	Session string
	Part    int
	// Further: the part goes on in this section, since the one before had no room for
	// more links. It has no Host and no Filter of its own.
	Further bool   `json:",omitempty"`
	Host    string `json:",omitempty"` // its name, as hostname(1) prints it
	// Filter is what picked the journeys, in words; empty when all are here. Else
	// kindPicked says which they are, and the others are here for their sake.
	Filter string `json:",omitempty"`
}

// place says which link an interface of the file is.
type place struct {
	Interface int
	Namespace netns.ID
	Ifindex   int32
}

// ring says since when a namespace's packets are captured, or until when they
// were.
type ring struct {
	Namespace netns.ID
	Since     int64 `json:",omitempty"`
	Until     int64 `json:",omitempty"`
}

// mark says that the packets before a time were judged, with all that stands
// before the mark in the file known, and nothing behind it.
type mark struct {
	Through int64
	// Heard is up to when connection tracking had been read then, where that is
	// not as far.
	Heard int64 `json:",omitempty"`
}

// complete says that all packets before a time stand before it in the file.
type complete struct{ Through int64 }

// lost counts what rings dropped before a time. Files of the first version of natlens
// that wrote any don't tell the time.
type lost struct {
	Packets map[netns.ID]uint64
	Through int64 `json:",omitempty"`
}

// interrupt says that times before and after can't be compared.
type interrupt struct{ Reason string }

// again wraps what a later file of a session repeats so that it stands alone. It
// is no news to who has read the files before.
type again[T any] struct {
	Again bool `json:",omitempty"`
	Value T
}
