package jsonl

import (
	"strings"

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
}

type flowCounters struct {
	Original traffic `json:"original"`
	Reply    traffic `json:"reply"`
}

type traffic struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Flow writes what conntrack said of a flow, kind "flow".
func Flow(e *netfilter.Event, t *netinfo.Topology) ([]byte, error) {
	f := &e.Flow
	x := flowLine{
		header: kind("flow"), Event: strings.ToLower(e.Kind.String()), Time: stamp(e.Before),
		flow: newFlow(f, t), Mark: f.Mark, Timeout: f.Timeout, TCPState: f.TCPState,
	}
	if f.Start != 0 {
		x.Start = stamp(f.Start)
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
	return flow{
		Namespace: namespaceName(t, f.Namespace), NamespaceInode: f.Namespace.Inode(), ID: f.ID, Zone: f.Zone,
		Status: statusWords(f.Status), Original: newTuple(f.Original), Reply: newTuple(f.Reply),
	}
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
