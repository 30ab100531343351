package live

import (
	"strings"
	"testing"

	"natlens/internal/leak"
	"natlens/netinfo"
)

// threeRings is memory for three of the smallest rings.
const threeRings = 3 * 2 * (64 << 10)

// TestRingsWithoutRoom watches more namespaces than there is memory for. Who is
// left out is said, and gets the room that another one leaves.
func TestRingsWithoutRoom(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	b := mustBox(t, "box", 10)
	w := startWatch(t, Config{Host: netinfo.Options{NoEngine: true}, RingBudget: threeRings})
	left := w.session.Watching().LeftOut
	if len(left) != 1 || left[0].Name != "database" || !strings.Contains(left[0].Reason, "the memory for rings is used up") {
		t.Fatalf("left out: %+v", left)
	}

	late := mustBox(t, "late", 11)
	t.Cleanup(func() { _ = late.remove() })
	w.until("word that a container is not watched", func() bool {
		for _, s := range w.warnings {
			if strings.HasPrefix(s, "late is not watched: ") {
				return true
			}
		}
		return false
	})
	if err := b.remove(); err != nil {
		t.Fatal(err)
	}
	database := h.Find("database")
	pinger(t, database.Namespace(), 12)
	w.journey("the own hop of who had no room", whole("database", database.HostLink))
}
