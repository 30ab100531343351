package record

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"natlens/netinfo"
)

// topologyJSON is a netinfo.Topology without what is nobody's business elsewhere:
// labels, paths and processes.
type topologyJSON struct {
	netinfo.Topology
	Namespaces []namespace
	Networks   []network
}

// namespace and member refer to containers by their place in the list.
type namespace struct {
	netinfo.Namespace
	Containers []int
	Unreadable string `json:",omitempty"`
}

type network struct {
	netinfo.Network
	Members []member
}

type member struct {
	netinfo.Member
	Container int
}

// content tells whether two topologies say the same: on a busy host processes come
// and go all the time, which changes nothing that is in the file.
func (t *topologyJSON) content() [sha256.Size]byte {
	same := *t
	same.Number, same.Time = 0, time.Time{}
	b, err := json.Marshal(&same)
	if err != nil {
		return [sha256.Size]byte{} // writing it will fail, and say so
	}
	return sha256.Sum256(b)
}

func topologyOf(t *netinfo.Topology) *topologyJSON {
	out := &topologyJSON{Topology: *t}
	out.Containers = nil
	place := map[*netinfo.Container]int{}
	for i, c := range t.Containers {
		place[c] = i
		kept := *c
		kept.Labels, kept.PID, kept.SandboxKey = nil, 0, ""
		out.Containers = append(out.Containers, &kept)
	}
	for _, n := range t.Namespaces {
		made := namespace{Namespace: *n}
		made.Paths, made.PIDs = nil, nil
		if n.Unreadable != nil {
			made.Unreadable = n.Unreadable.Error()
		}
		for _, c := range n.Containers {
			if at, ok := place[c]; ok {
				made.Containers = append(made.Containers, at)
			}
		}
		out.Namespaces = append(out.Namespaces, made)
	}
	for _, n := range t.Networks {
		made := network{Network: *n}
		for _, m := range n.Members {
			if at, ok := place[m.Container]; ok {
				made.Members = append(made.Members, member{m, at})
			}
		}
		out.Networks = append(out.Networks, made)
	}
	return out
}

var errTopology = errors.New("a topology that refers to what is not in it")

// readTopology reads what topologyOf made, on the host with that number.
func readTopology(b []byte, host uint32) (*netinfo.Topology, error) {
	var in topologyJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, err
	}
	t := in.Topology
	if slices.Contains(t.Containers, nil) {
		return nil, errTopology
	}
	for i := range in.Namespaces {
		made := in.Namespaces[i].Namespace
		if slices.Contains(made.Links, nil) {
			return nil, errTopology
		}
		if text := in.Namespaces[i].Unreadable; text != "" {
			made.Unreadable = errors.New(text)
		}
		for _, at := range in.Namespaces[i].Containers {
			if at < 0 || at >= len(t.Containers) {
				return nil, errTopology
			}
			made.Containers = append(made.Containers, t.Containers[at])
		}
		t.Namespaces = append(t.Namespaces, &made)
	}
	for i := range in.Networks {
		made := in.Networks[i].Network
		for _, m := range in.Networks[i].Members {
			if m.Container < 0 || m.Container >= len(t.Containers) {
				return nil, errTopology
			}
			m.Member.Container = t.Containers[m.Container]
			made.Members = append(made.Members, m.Member)
		}
		t.Networks = append(t.Networks, &made)
	}
	if host != 0 {
		renumber(&t, host)
	}
	return t.Seal(), nil
}
