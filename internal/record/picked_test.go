package record_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"natlens/capture"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// A filter may pick a packet by what is known of it at last only: then the records that
// were replaced meanwhile are picked by nobody, and have other numbers in the file.
func TestARecordThatIsPickedWhenItIsReplacedAgain(t *testing.T) {
	d := newDeck(t, record.Config{Match: func(j *trace.Journey) bool { return len(j.Hops) == 3 }})
	const box netns.ID = 3
	inside, outside := netinfo.LinkKey{Namespace: box, Index: 2}, netinfo.LinkKey{Namespace: 1, Index: 3}
	d.tape.SetTopology((&netinfo.Topology{Number: 2, Time: time.Unix(0, d.now), Self: 1, Namespaces: []*netinfo.Namespace{
		{ID: 1, Name: "host", Links: []*netinfo.Link{
			{Key: netinfo.LinkKey{Namespace: 1, Index: 2}, Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, Addresses: []netip.Prefix{netip.PrefixFrom(deckHost, 24)}},
			{Key: outside, Name: "veth0", Kind: "veth", Role: netinfo.RoleVeth, Peer: &netinfo.Peer{Key: inside, Name: "eth0"}},
		}},
		{ID: box, Name: "box", Links: []*netinfo.Link{{Key: inside, Name: "eth0", Kind: "veth", Role: netinfo.RoleVeth, Peer: &netinfo.Peer{Key: outside, Name: "veth0"}}}},
		{ID: aside, Name: "aside", Links: []*netinfo.Link{{Key: netinfo.LinkKey{Namespace: aside, Index: 2}, Name: "eth0", Kind: "device", Role: netinfo.RoleUplink}}},
	}}).Seal())
	d.tape.Watch(box, 1)
	for port := uint16(1); port < 4; port++ {
		seen := d.datagramFor(netip.MustParseAddr("203.0.113.9"), box, port)
		seen.Type = capture.Outgoing
		d.pass(time.Millisecond, true, seen)
		d.pass(3600*time.Millisecond, true)
		seen.Namespace, seen.Ifindex, seen.Type, seen.Time = 1, 3, capture.Host, d.now
		d.pass(time.Millisecond, true, seen)
		// What has nothing to do with it has numbers, and is not in the file.
		for n := range port {
			other := d.datagramFor(netip.MustParseAddr("203.0.113.77"), aside, 100*port+n)
			d.pass(time.Millisecond, true, other)
		}
		d.pass(3600*time.Millisecond, true)
		seen.Ifindex, seen.Type, seen.Time = 2, capture.Outgoing, d.now
		d.pass(time.Millisecond, true, seen)
		d.pass(5*time.Second, true)
	}
	d.tape.Flush()
	must(t, d.tape.Err())
	var want []string
	for _, j := range d.journeys {
		if len(j["hops"].([]any)) == 3 {
			want = append(want, fmt.Sprint(j))
		}
	}
	var got []string
	for _, j := range play(t, d.paths...).journeys {
		got = append(got, fmt.Sprint(j))
	}
	if len(want) != 3 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read\n%q, picked were\n%q", got, want)
	}
}
