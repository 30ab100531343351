package e2e

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// Without docker-proxy a published port that a container of the same network
// calls is translated on the bridge, and so must the answer be.
func TestCaseHairpin(t *testing.T) {
	e := engine.Start(t, "--userland-proxy=false")
	e.Run("--name", "back", "-p", "8000:8000", "box")
	e.Run("--name", "front", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	published := netip.AddrPortFrom(hostAddress, 8000)
	back := ipOf(t, e, "back", "bridge")

	t.Run("filtered", func(t *testing.T) {
		tune(t, e, "net.bridge.bridge-nf-call-iptables", "1")
		l := &load{t: t, e: e}
		c := startCase(t, e)
		l.connect(e.Namespace("front"), 36000, published, 2)
		l.connect(e.Namespace("back"), 36001, published, 2)
		time.Sleep(100 * time.Millisecond)
		journeys, _ := c.end()
		for _, from := range []string{"front", "back"} {
			port := map[string]uint16{"front": 36000, "back": 36001}[from]
			syn := only(t, "SYN", segments(journeys, port, "SYN"))
			same(t, "SYN of "+from, syn.End(), "delivered at back:eth0 in")
			kinds := []string{"dnat"}
			if from == "back" {
				kinds = []string{"dnat", "masquerade"} // else it would answer itself
			}
			var got []string
			for _, tr := range syn.Translations {
				got = append(got, tr.Kind)
			}
			if !slices.Equal(got, kinds) {
				t.Errorf("SYN of %s: %v, want %v: %s", from, got, kinds, shape(syn))
			}
			same(t, "answer to "+from, only(t, "SYN ACK", segments(journeys, port, "SYN ACK")).End(), "delivered at "+from+":eth0 in")
		}
		for i := range journeys {
			if j := &journeys[i]; strings.Contains(strings.Join(j.Notes, " "), "un-NATed") {
				t.Errorf("%s: %q", shape(j), j.Notes)
			}
		}
	})
	t.Run("unfiltered", func(t *testing.T) {
		tune(t, e, "net.bridge.bridge-nf-call-iptables", "0")
		c := startCase(t, e)
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		if conn, err := lab.DialTCP(ctx, e.Namespace("front"), netip.MustParseAddrPort("0.0.0.0:36002"), published); err == nil {
			t.Error("it was reached")
			_ = conn.Close()
		}
		journeys, _ := c.end()
		answers := segments(journeys, 36002, "SYN ACK")
		if len(answers) == 0 {
			t.Fatal("no answer")
		}
		answer := answers[0]
		same(t, "answer", answer.End(), "delivered at front:eth0 in")
		want := "came over the bridge un-NATed: from " + back.String() + ":8000 where 192.0.2.10:8000 was asked"
		if notes := strings.Join(answer.Notes, " "); !strings.Contains(notes, want) || !strings.Contains(notes, "bridge-nf-call-iptables") {
			t.Errorf("%s: notes %q", shape(answer), answer.Notes)
		}
		if len(segments(journeys, 36002, "RST")) == 0 {
			t.Error("nobody answered RST")
		}
	})
}
