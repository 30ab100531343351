package trace

import (
	"strings"
	"testing"
	"time"
)

// What is not one packet everywhere says why.
func TestPieced(t *testing.T) {
	words := numbered(3000)
	plain := udp(t, port(backIP, 4000), port(internetIP, 443), 4711, words)
	fragments := cut(plain, 1480)
	small := datagrams(t, port(backIP, 4000), 4711, words, 1000)
	for name, c := range map[string]struct {
		at   [4][][]byte // at back, its veth, the bridge and the uplink
		want string
	}{
		"one packet": {[4][][]byte{{plain}, {plain}, {plain}, {plain}}, ""},
		"in pieces":  {[4][][]byte{fragments, fragments, fragments, fragments}, ""},
		"fragments that are put together": {[4][][]byte{fragments, fragments, {plain}, fragments},
			"whole at docker0: the kernel puts fragments together before it asks its rules, and cuts again what a link does not take"},
		"cut into fragments": {[4][][]byte{{plain}, {plain}, {plain}, fragments}, "cut into fragments for eth0, which takes no more at once"},
		"cut when it is sent": {[4][][]byte{{plain}, {plain}, {plain}, small},
			"one packet until eth0, which sends it as several: the kernel moves them together and cuts as late as it can (segmentation offload)"},
		"merged": {[4][][]byte{small, {plain}, {plain}, {plain}},
			"vethback is the first to show it as one with others: a link joins what comes in together (generic receive offload)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			for i, where := range []at{backOut, vethIn, bridgeIn, uplinkOut} {
				for _, f := range c.at[i] {
					s.see(where, f)
				}
			}
			s.pass(50 * time.Millisecond)
			s.pass(4 * time.Second)
			if len(s.journeys) == 0 || len(s.journeys) > 1 && name != "merged" {
				t.Fatalf("%d journeys: %s", len(s.journeys), s.verdicts())
			}
			for _, j := range s.journeys {
				if got := strings.Join(j.Notes, "; "); got != c.want {
					t.Errorf("%s\n got %q\nwant %q", path(j), got, c.want)
				}
			}
		})
	}
}
