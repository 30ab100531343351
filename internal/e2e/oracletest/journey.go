// Package oracletest holds journeys against what the field's own tools saw:
// tcpdump at every point, read by tshark, and conntrack(8). Nothing of natlens
// decodes a packet here, and the structures of its JSON are written down anew,
// so that a change of the product's own can't change them.
package oracletest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Journey is the part of the JSON contract that tests look at.
type Journey struct {
	Kind         string
	ID           uint64
	Supersedes   uint64
	Protocol     string
	Info         string
	From, To     Endpoint
	Direction    string
	Hops         []Hop
	Translations []Translation
	Flows        []struct {
		ID uint64
	}
	Verdict struct {
		Result, Reason, Evidence, Hook, By string
		At                                 any
		Leak                               bool
		Rule                               *Rule
	}
	Related []Relation
	Notes   []string
	// earlier are the ids of records that this one replaces; Newest knows them.
	earlier []uint64
}

// Relation is to another journey.
type Relation struct {
	ID  uint64
	Why string
}

// OneOfSeveral reports whether the journey says that what a docker-proxy passed on
// may be another client's as well.
func (j *Journey) OneOfSeveral() bool {
	return slices.ContainsFunc(j.Notes, func(n string) bool { return strings.Contains(n, "inferred by order alone") })
}

// Endpoint is one end of a journey.
type Endpoint struct {
	Name       string
	Containers []string
	IP         string
	Port       uint16
}

// Address is an address with its port; 0 where there is none.
type Address struct {
	IP   string
	Port uint16
}

// Hop is one sighting, as natlens tells it.
type Hop struct {
	Time           time.Time
	Host           string
	Clock          int64
	Namespace      string
	NamespaceInode uint64 `json:"namespace_inode"`
	Interface      string
	Ifindex        int
	Direction      string
	PacketType     string `json:"packet_type"`
	Containers     []string
	PeerContainers []string `json:"peer_containers"`
	Source         Address
	Destination    Address
	IPID           uint16 `json:"ip_id"`
	Length         int
	From           *int
	ICMP           *struct{ Type, Code, ID, Seq int }
	TCP            *struct {
		Seq, Ack uint32
		Flags    string
	}
	Part   *Part
	Merged int `json:"merged_with"`
	Quoted *struct {
		Protocol            string
		Source, Destination Address
	}
}

// Part is which piece of a datagram a hop saw.
type Part struct{ Index, Of, Offset int }

// Translation is one change of addresses, as natlens tells it.
type Translation struct {
	Kind          string
	Namespace     string
	Between       [2]*int
	PeerJourney   uint64 `json:"peer_journey"`
	Hook          string
	Undo          bool
	Before, After struct{ Source, Destination Address }
	Evidence      string
	ConntrackID   uint64 `json:"conntrack_id"`
	Rule          *Rule
}

// Rule is a rule of a packet filter.
type Rule struct {
	Family, Table, Chain, Text, Backend, Evidence string
	Position, Handle                              int
	// Marker set the mark that it asks for.
	Marker *struct{ Chain, Text string }
}

// Summary is the last line.
type Summary struct {
	Kind                                                         string
	Observations, Journeys, Hidden, Evicted, Unpaired, Malformed uint64
	RingDrops                                                    uint64 `json:"ring_drops"`
	ConntrackLost                                                uint64 `json:"conntrack_lost"`
	QueueDrops                                                   uint64 `json:"queue_drops"`
}

// Newest drops the records that later ones supersede.
func Newest(all []Journey) []Journey {
	replaced := map[uint64]uint64{}
	for i := range all {
		if j := &all[i]; j.Supersedes != 0 {
			replaced[j.ID] = j.Supersedes
		}
	}
	superseded := map[uint64]bool{}
	for _, id := range replaced {
		superseded[id] = true
	}
	kept := all[:0]
	for _, j := range all {
		if superseded[j.ID] {
			continue
		}
		for id := replaced[j.ID]; id != 0; id = replaced[id] {
			j.earlier = append(j.earlier, id)
		}
		kept = append(kept, j)
	}
	return kept
}

// Path is how a journey is written down in tests: a line for each hop.
func (j *Journey) Path() string {
	var lines []string
	for _, h := range j.Hops {
		lines = append(lines, fmt.Sprintf("%s:%s %s %s > %s", h.Namespace, h.Interface, h.Direction, h.Source.IP, h.Destination.IP))
	}
	return strings.Join(lines, "\n")
}

// End is how it ended and how that is known.
func (j *Journey) End() string {
	s := j.Verdict.Result
	if at, ok := j.Verdict.At.(float64); ok && int(at) < len(j.Hops) {
		h := j.Hops[int(at)]
		s += " at " + h.Namespace + ":" + h.Interface + " " + h.Direction
	}
	return s
}

// ambiguous reports whether it says that it can't be told from others.
func (j *Journey) ambiguous() bool { return j.Verdict.Evidence == "ambiguous" }
