package record

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// The zones of both directions are kept. Where a file has one, as it was written before,
// that is of both; and where there is none, none stands in it.
func TestZonesInAFile(t *testing.T) {
	asked := packet.NewTuple(packet.UDP, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 1, 2)
	for _, want := range []netfilter.Zones{{}, {5, 5}, {5, 0}, {0, 6}} {
		e := netfilter.Event{Kind: netfilter.New, Flow: netfilter.Flow{Namespace: 1, Zone: want[0], ReplyZone: want[1], Original: asked, Reply: asked.Inverse()}}
		written, err := json.Marshal(flows{Namespace: 1, Events: []event{eventOf(&e)}})
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(written), "ReplyZone"); has != (want != netfilter.Zones{}) {
			t.Errorf("of zones %v: %s", want, written)
		}
		for text, want := range map[string]netfilter.Zones{
			string(written): want,
			strings.NewReplacer(`,"ReplyZone":0`, "", `,"ReplyZone":5`, "", `,"ReplyZone":6`, "").Replace(string(written)): {want[0], want[0]},
		} {
			var read flows
			if err := json.Unmarshal([]byte(text), &read); err != nil {
				t.Fatal(err)
			}
			b, err := read.batch()
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Events[0].Flow.Zones(); got != want {
				t.Errorf("read %v, want %v, of %s", got, want, text)
			}
		}
	}
}

// What only some events tell of a flow stands in what a file repeats of it.
func TestRenumberingsInAFile(t *testing.T) {
	asked := packet.NewTuple(packet.TCP, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 1, 2)
	flow := netfilter.Flow{Namespace: 1, Status: netfilter.SeqAdjust, Original: asked, Reply: asked.Inverse()}
	known := flow
	known.Renumberings = [2]netfilter.Renumbering{1: {Position: 7, Before: 0, After: -2}}
	table := flowTable{}
	for i, f := range []netfilter.Flow{known, flow} {
		table.news(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.Update, Before: int64(1 + i), Flow: f}}})
	}
	table.again(func(again flows) {
		written, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		var read flows
		if err := json.Unmarshal(written, &read); err != nil {
			t.Fatal(err)
		}
		b, err := read.batch()
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Events[0].Flow.Renumberings; got != known.Renumberings {
			t.Errorf("read %+v, want %+v, of %s", got, known.Renumberings, written)
		}
	})
	written, err := json.Marshal(eventOf(&netfilter.Event{Flow: flow}))
	if err != nil || strings.Contains(string(written), "Renumberings") {
		t.Errorf("without numbers: %s, %v", written, err)
	}
}
