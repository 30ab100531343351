package record_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/record"
)

// What was said of answers in the wrong zone, a file says again: of the entries, it has
// the zones of both directions.
func TestReadShowsZones(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	r := watch(t, record.Config{Others: true}, func(ctx context.Context, h *lab.Host) {
		for i, rule := range []string{"iifname docker0 ct zone set 5", "iifname docker0 ct original zone set 6"} {
			c := exec.Command("nft", "-f", "-")
			c.Stdin = strings.NewReader("table ip zones\ndelete table ip zones\ntable ip zones {\n chain early {\n type filter hook prerouting priority raw\n " + rule + "\n }\n}\n")
			if err := h.Namespace().Do(func() error { return c.Run() }); err != nil {
				t.Error(err)
			}
			time.Sleep(1500 * time.Millisecond) // until that has been read
			short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
			_, err := lab.Ping(short, h.Containers()[0].Namespace(), lab.ServerAddress, lab.Echo{ID: uint16(40 + i), Seq: 1})
			stop()
			if answered := err == nil; answered != (i == 1) {
				t.Errorf("%s: answered %v", rule, answered)
			}
		}
	})
	zones, missed := map[string]bool{}, 0
	for _, j := range r.journeys {
		flows, _ := j["flows"].([]any)
		for _, f := range flows {
			f := f.(map[string]any)
			zones[fmt.Sprint(f["zone"], f["reply_zone"])] = true
		}
		if strings.Contains(fmt.Sprint(j["notes"]), "an entry of zone 5") {
			missed++
		}
	}
	if !zones["5 <nil>"] || !zones["6 0"] || missed != 1 {
		t.Errorf("zones %v, %d missed", zones, missed)
	}
	r.same(t, play(t, r.paths...))
}
