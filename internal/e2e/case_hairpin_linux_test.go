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

// hairpin is a container that calls a published port of its own network by the
// host's address.
type hairpin struct {
	from string
	port uint16 // of the client
	on   string // net.bridge.bridge-nf-call-iptables
}

func hairpinHost(t *testing.T, e *engine.Engine) (*load, netip.AddrPort) {
	e.Run("--name", "back", "-p", "8000:8000", "box")
	e.Run("--name", "front", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	return l, netip.AddrPortFrom(hostAddress, 8000)
}

// kindsOf are the translations of a journey, in order.
func kindsOf(j *journey) (kinds []string) {
	for _, tr := range j.Translations {
		kinds = append(kinds, tr.Kind)
	}
	return kinds
}

func noteOf(j *journey) string { return strings.Join(j.Notes, "\n") }

// Without docker-proxy a published port that a container of the same network
// calls is translated by the host, and so must the answer be.
func TestCaseHairpinWithoutProxy(t *testing.T) {
	e := engine.Start(t, "--userland-proxy=false")
	_, published := hairpinHost(t, e)
	back := ipOf(t, e, "back", "bridge")
	same(t, "userland_proxy", list(t, e).Engine.UserlandProxy, "off")
	for name, h := range map[string]hairpin{
		"neighbour, filtered": {"front", 36000, "1"},
		"own, filtered":       {"back", 36001, "1"},
		"own, unfiltered":     {"back", 36003, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			tune(t, e, "net.bridge.bridge-nf-call-iptables", h.on)
			s := openScene(t, e, "back", "front")
			s.connect(e.Namespace(h.from), h.port, published, 2)
			all := s.close()
			question := only(t, "SYN", segments(all, h.port, "SYN"))
			same(t, "SYN", question.End(), "delivered at back:eth0 in")
			kinds := []string{"dnat"}
			if h.from == "back" {
				kinds = []string{"dnat", "masquerade"} // else it would answer itself
			}
			if got := kindsOf(question); !slices.Equal(got, kinds) {
				t.Errorf("SYN: %v, want %v: %s", got, kinds, shape(question))
			}
			answer := only(t, "SYN ACK", segments(all, h.port, "SYN ACK"))
			same(t, "answer", answer.End(), "delivered at "+h.from+":eth0 in")
			if len(answer.Related) != 1 || answer.Related[0].ID != question.ID {
				t.Errorf("the answer is related to %v, want #%d", answer.Related, question.ID)
			}
			for i := range all {
				if j := &all[i]; strings.Contains(noteOf(j), "un-NATed") {
					t.Errorf("%s: %q", shape(j), j.Notes)
				}
			}
		})
	}
	t.Run("neighbour, unfiltered", func(t *testing.T) {
		tune(t, e, "net.bridge.bridge-nf-call-iptables", "0")
		s := openScene(t, e, "back", "front")
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		if conn, err := lab.DialTCP(ctx, e.Namespace("front"), netip.MustParseAddrPort("0.0.0.0:36002"), published); err == nil {
			t.Error("it was reached")
			_ = conn.Close()
		}
		all := s.close()
		answers := segments(all, 36002, "SYN ACK")
		if len(answers) == 0 {
			t.Fatal("no answer")
		}
		same(t, "answer", answers[0].End(), "delivered at front:eth0 in")
		says(t, "notes of the answer", noteOf(answers[0]),
			"came over the bridge un-NATed: from "+back.String()+":8000 where 192.0.2.10:8000 was asked", "bridge-nf-call-iptables", "RST")
		if len(segments(all, 36002, "RST")) == 0 {
			t.Error("nobody answered RST")
		}
	})
}

// With docker-proxy the host itself answers, whatever the bridge does.
func TestCaseHairpinThroughProxy(t *testing.T) {
	e := engine.Shared(t)
	_, published := hairpinHost(t, e)
	back := ipOf(t, e, "back", "bridge").String()
	for name, h := range map[string]hairpin{
		"neighbour, filtered":   {"front", 36010, "1"},
		"own, filtered":         {"back", 36011, "1"},
		"neighbour, unfiltered": {"front", 36012, "0"},
		"own, unfiltered":       {"back", 36013, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			tune(t, e, "net.bridge.bridge-nf-call-iptables", h.on)
			s := openScene(t, e, "back", "front")
			s.connect(e.Namespace(h.from), h.port, published, 2)
			all := s.close()
			question := only(t, "SYN", segments(all, h.port, "SYN"))
			same(t, "SYN", question.End(), "delivered at host:docker0 in")
			if len(question.Translations) != 0 {
				t.Errorf("the SYN to the proxy was translated: %v", kindsOf(question))
			}
			inner := opening(all, back, 8000)
			if len(inner) != 1 {
				t.Fatalf("%d connections by the proxy, want 1", len(inner))
			}
			same(t, "the proxy's SYN", inner[0].End(), "delivered at back:eth0 in")
			stitched(t, inner[0], question)
		})
	}
}
