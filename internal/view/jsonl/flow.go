package jsonl

import (
	"strings"

	"natlens/internal/flows"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// flow is a conntrack entry, as part of a journey.
type flow struct {
	Namespace      string   `json:"namespace,omitempty"`
	Host           string   `json:"host,omitempty"`
	NamespaceInode uint64   `json:"namespace_inode,omitempty"`
	ID             uint32   `json:"id"`
	Zone           uint16   `json:"zone"`
	ReplyZone      *uint16  `json:"reply_zone,omitempty"`
	Status         []string `json:"status"`
	Original       *tuple   `json:"original,omitempty"`
	Reply          *tuple   `json:"reply,omitempty"`
}

// flowLine is a conntrack entry on a line of its own.
type flowLine struct {
	header
	Event string `json:"event"`
	Time  string `json:"time"`
	flow
	Mark     uint32        `json:"mark"`
	Timeout  uint32        `json:"timeout"`
	Start    string        `json:"start,omitempty"`
	TCPState string        `json:"tcp_state,omitempty"`
	Counters *flowCounters `json:"counters,omitempty"`

	FirstSeen    string        `json:"first_seen,omitempty"`
	From         *endpoint     `json:"from,omitempty"`
	To           *endpoint     `json:"to,omitempty"`
	Translations []translation `json:"translations"`
	Proxy        *flowProxy    `json:"proxy,omitempty"`
}

// flowProxy is a docker-proxy at one end of a flow.
type flowProxy struct {
	PID   int    `json:"pid"`
	Dials bool   `json:"dials"`
	Other string `json:"other"`
	Name  string `json:"name,omitempty"`
}

type flowCounters struct {
	Original traffic `json:"original"`
	Reply    traffic `json:"reply"`
}

type traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Flow writes a flow as it is after a change, kind "flow".
func Flow(c *flows.Change) ([]byte, error) {
	e, j := c.Entry, c.Entry.Journey
	f := &e.Flow
	from, to := newEndpoint(j.From), newEndpoint(j.To)
	x := flowLine{
		header: kind("flow"), Event: strings.ToLower(c.Kind.String()), Time: stamp(c.Time),
		flow: newFlow(f, j.Topology), Mark: f.Mark, Timeout: f.Timeout, TCPState: f.TCPState,
		FirstSeen: stamp(e.Seen), From: &from, To: &to, Translations: make([]translation, len(j.Translations)),
	}
	if f.Start != 0 {
		x.Start = stamp(f.Start)
	}
	for i := range j.Translations {
		x.Translations[i] = newTranslation(&j.Translations[i])
	}
	if p := e.Proxy; p != nil {
		x.Proxy = &flowProxy{PID: p.PID, Dials: p.Dials, Other: p.Other.String(), Name: p.Name}
	}
	if f.Packets != [2]uint64{} {
		x.Counters = &flowCounters{
			Original: traffic{Packets: f.Packets[0], Bytes: f.Bytes[0]},
			Reply:    traffic{Packets: f.Packets[1], Bytes: f.Bytes[1]},
		}
	}
	return line(x)
}

func newFlow(f *netfilter.Flow, t *netinfo.Topology) flow {
	out := flow{
		Namespace: namespaceName(t, f.Namespace), NamespaceInode: f.Namespace.Inode(), ID: f.ID, Zone: f.Zone,
		Status: statusWords(f.Status), Original: newTuple(f.Original), Reply: newTuple(f.Reply),
	}
	if f.ReplyZone != f.Zone {
		out.ReplyZone = &f.ReplyZone
	}
	return out
}

// statusNames are the bits of enum ip_conntrack_status, lowest first
// (include/uapi/linux/netfilter/nf_conntrack_common.h), without their IPS_.
var statusNames = [...]string{
	"expected", "seen_reply", "assured", "confirmed", "src_nat", "dst_nat", "seq_adjust", "src_nat_done",
	"dst_nat_done", "dying", "fixed_timeout", "template", "nat_clash", "helper", "offload", "hw_offload",
}

func statusWords(s netfilter.Status) []string {
	words := []string{}
	for i, w := range statusNames {
		if s&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}
