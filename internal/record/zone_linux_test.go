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
	"natlens/netinfo"
)

// ruleCame waits until natlens has read a rule with those words.
func ruleCame(changes <-chan netinfo.Change, words string) bool {
	hang := time.After(20 * time.Second)
	for {
		select {
		case c := <-changes:
			if _, came, _ := strings.Cut(c.Detail, " came: "); c.Kind == "ruleset" && strings.Contains(came, words) {
				return true
			}
		case <-hang:
			return false
		}
	}
}

// What was said of answers in the wrong zone, a file says again: of the entries, it has
// the zones of both directions.
func TestReadShowsZones(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft")
	}
	r := watchChanges(t, record.Config{Others: true}, func(ctx context.Context, h *lab.Host, changes <-chan netinfo.Change) {
		for i, rule := range []string{"iifname docker0 ct zone set 5", "iifname docker0 ct original zone set 6"} {
			c := exec.Command("nft", "-f", "-")
			c.Stdin = strings.NewReader("table ip zones\ndelete table ip zones\ntable ip zones {\n chain early {\n type filter hook prerouting priority raw\n " + rule + "\n }\n}\n")
			if err := h.Namespace().Do(func() error { return c.Run() }); err != nil {
				t.Error(err)
			}
			if _, set, _ := strings.Cut(rule, "ct "); !ruleCame(changes, set) {
				t.Errorf("%s: not read", rule)
			}
			answers, patience := i == 1, 300*time.Millisecond
			if answers {
				patience = time.Minute // as long as a ping waits by itself
			}
			pinging, stop := context.WithTimeout(ctx, patience)
			_, err := lab.Ping(pinging, h.Containers()[0].Namespace(), lab.ServerAddress, lab.Echo{ID: uint16(40 + i), Seq: 1})
			stop()
			if answered := err == nil; answered != answers {
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
