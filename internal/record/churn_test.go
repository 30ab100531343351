package record_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Where containers come and go, a file says what changes, and is read as if it said all
// of it each time; also a later file alone.
func TestChangesAreWrittenAsSuch(t *testing.T) {
	d := newDeck(t, record.Config{Others: true, Size: 50_000})
	whole := 0
	var host *netinfo.Topology
	rules := &netfilter.Ruleset{Namespace: 1}
	for n := range 60 {
		host = &netinfo.Topology{Number: uint64(n + 2), Time: time.Unix(0, d.now), Self: 1}
		host.Namespaces = append(host.Namespaces, &netinfo.Namespace{ID: 1, Name: "host"}, &netinfo.Namespace{ID: aside, Name: fmt.Sprint("aside-", n)})
		for i := range 40 {
			id := netns.ID(100 + n/2 + i) // each second time one goes and one comes
			host.Namespaces = append(host.Namespaces, &netinfo.Namespace{ID: id, Name: fmt.Sprint("c", id), Links: []*netinfo.Link{{
				Key: netinfo.LinkKey{Namespace: id, Index: 2}, Name: "eth0", Kind: "veth", Role: netinfo.RoleVeth, Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.2/16")}}}})
			host.Namespaces[0].Links = append(host.Namespaces[0].Links, &netinfo.Link{
				Key: netinfo.LinkKey{Namespace: 1, Index: int32(id)}, Name: fmt.Sprint("veth", id), Kind: "veth", Role: netinfo.RoleVeth})
		}
		d.tape.SetTopology(host.Seal())
		line, err := json.Marshal(host)
		must(t, err)
		whole += len(line)
		rules = &netfilter.Ruleset{Namespace: 1, Time: int64(n)}
		d.tape.SetRuleset(rules)
		d.pass(time.Second, true, d.datagram(aside, uint16(n+1)))
	}
	d.pass(5*time.Second, true)
	d.tape.Flush()
	must(t, d.tape.Err())
	d.counters = d.tape.Counters()
	d.same(t, play(t, d.paths...))
	names := map[any]bool{}
	for _, j := range d.journeys {
		names[j["hops"].([]any)[0].(map[string]any)["namespace"]] = true
	}
	if len(names) < 40 {
		t.Errorf("the namespace of the packets has %d names", len(names))
	}
	size := 0
	for _, path := range d.paths {
		info, err := os.Stat(path)
		must(t, err)
		size += int(info.Size())
	}
	if size > whole/3 || len(d.paths) < 2 {
		t.Errorf("%d bytes in %d files, the topologies alone have %d", size, len(d.paths), whole)
	}
	d.journeys = d.journeys[len(d.journeys)-1:]
	if alone := play(t, d.paths[len(d.paths)-1]).journeys; len(alone) == 0 || fmt.Sprint(alone[len(alone)-1]) != fmt.Sprint(d.journeys[0]) {
		t.Errorf("the last file alone: %v, want %v at last", alone, d.journeys[0])
	}
	// Who reads what natlens knew is told the same.
	f, err := os.Open(d.paths[len(d.paths)-1])
	must(t, err)
	defer f.Close()
	recording, err := record.Open([]record.File{{Name: "last", In: f}})
	must(t, err)
	var last *netinfo.Topology
	must(t, recording.Tell(context.Background(), record.Knowledge{
		Topology: func(t *netinfo.Topology) { last = t }, Ruleset: func(r *netfilter.Ruleset) { rules = r }, Flows: func(*netfilter.Batch) {},
	}))
	if !slices.EqualFunc(last.Namespaces, host.Namespaces, func(a, b *netinfo.Namespace) bool {
		return a.ID == b.ID && a.Name == b.Name && len(a.Links) == len(b.Links)
	}) || rules.Time != 59 {
		t.Errorf("the last topology read is of %v, the last rules of %d", last.Time, rules.Time)
	}
}
