package e2e

import (
	"net/netip"
	"testing"

	"natlens/internal/lab/engine"
)

// The kernel moves TCP data in segments larger than any link takes, and cuts them
// just before they are sent. Without offloads that is at the uplink.
func TestCaseSegmentsCutAtTheUplink(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	offloads := func(state string) { must(t, e.Command("ethtool", "-K", "eth0", "tso", state, "gso", state)) }
	offloads("off")
	defer offloads("on")
	l := &cast{load: &load{t: t, e: e}}
	l.swallow(e.Internet(), 8010)
	c := startExactCase(t, e, "back")
	l.send("split", e.Namespace("back"), netip.AddrPortFrom(internet, 8010), 300_000)
	journeys := c.end()
	cut := with(journeys, func(j *journey) bool {
		last := j.Hops[len(j.Hops)-1]
		return j.From.Name == "back" && last.Interface == "eth0" && last.Part != nil && last.Part.Of > 1
	})
	if len(cut) == 0 {
		t.Fatalf("none of %d journeys was cut", len(journeys))
	}
	for _, j := range cut {
		if j.End() != "left at host:eth0 out" || len(j.Translations) != 1 || j.Translations[0].Kind != "masquerade" {
			t.Errorf("%s, translations %+v: %s", j.End(), j.Translations, places(j))
		}
		const headers = 20 + 20 + 12 // IP, TCP, its timestamps
		sum := 0
		for _, h := range j.Hops {
			switch {
			case h.Part == nil && h.Length <= 1500:
				t.Errorf("%s:%s saw %d B, whole, of what was cut: %s", h.Namespace, h.Interface, h.Length, places(j))
			case h.Part != nil && (h.Interface != "eth0" || h.Namespace != "host" || h.Length > 1500):
				t.Errorf("a piece of %d B at %s:%s", h.Length, h.Namespace, h.Interface)
			case h.Part != nil && h.Part.Offset != sum:
				t.Errorf("a piece begins at %d, want %d", h.Part.Offset, sum)
			}
			if h.Part != nil {
				sum += h.Length - headers
			}
		}
	}
	t.Logf("%d of %d journeys were cut at the uplink, such as %s", len(cut), len(journeys), places(cut[0]))
}
