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
