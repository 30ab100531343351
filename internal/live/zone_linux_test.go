package live

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// entry finds in conntrack(8)'s list of the host the id of a ping's entry, and says how
// that has its zones.
func entry(t *testing.T, echo uint16) (id, zones string) {
	t.Helper()
	out, err := exec.Command("conntrack", "-L", "-p", "icmp", "-o", "id").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, fmt.Sprintf("type=8 code=0 id=%d ", echo)) {
			continue
		}
		return regexp.MustCompile(` id=(\d+)\s*$`).FindStringSubmatch(line)[1], strings.Join(regexp.MustCompile(`zone\S*=\d+`).FindAllString(line, -1), " ")
	}
	t.Fatalf("no entry of echo %d in\n%s", echo, out)
	return "", ""
}

// TestAnswersInZonesThroughMasquerade: where rules put a ping into a zone and its answer
// into none, the kernel does not translate that back, and no more does natlens.
func TestAnswersInZonesThroughMasquerade(t *testing.T) {
	needPrograms(t, "conntrack")
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	veth := "host/" + back.HostLink
	for i, c := range []struct {
		rules, zones string
		answered     bool
	}{
		{"iifname docker0 ct zone set 5", "zone=5", false},
		{"ct zone set 5", "zone=5", true},
		{"iifname docker0 ct original zone set 5", "zone-orig=5", true},
		{"iifname docker0 ct reply zone set 5", "zone-reply=5", false},
	} {
		t.Run(c.rules, func(t *testing.T) {
			hooking(t, "type filter hook prerouting priority raw", c.rules)
			w := startWatch(t, Config{})
			patience := liveness
			if !c.answered {
				patience = time.Second
			}
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			id := uint16(90 + i)
			if _, err := lab.Ping(ctx, back.Namespace(), lab.ServerAddress, lab.Echo{ID: id, Seq: 1}); (err == nil) != c.answered {
				t.Fatalf("answered: %v", err)
			}
			echo := func(kind uint8) *trace.Journey {
				return w.journey("an echo", func(j *trace.Journey) bool {
					return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPID == id && j.Hops[0].Headers.ICMPType == kind
				})
			}
			expect(t, echo(8), "back/eth0:out "+veth+":in host/docker0:in host/eth0:out", "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
			entry, zones := entry(t, id)
			if f := echo(8).Flows; zones != c.zones || len(f) != 1 || fmt.Sprint(f[0].ID) != entry {
				t.Errorf("conntrack has %s in %s, want %s; natlens %+v", entry, zones, c.zones, f)
			}
			answer := echo(0)
			if c.answered {
				expect(t, answer, "host/eth0:in host/docker0:out "+veth+":out back/eth0:in", "undo masquerade[0 1] by POSTROUTING [conntrack]", trace.Delivered)
				return
			}
			want := "it answers conntrack " + entry + ", an entry of zone 5; no rule puts what comes in by eth0 into that zone, so it is looked up in zone 0, finds no entry and is not translated back"
			if got := strings.Join(answer.Notes, "; "); got != want {
				t.Errorf("notes %q\nwant  %q", got, want)
			}
			answer.Notes = nil
			expect(t, answer, "host/eth0:in", "", trace.Delivered)
			if answer.Direction != trace.NoDirection || len(answer.Flows)+len(answer.Related) != 0 || answer.Verdict.Evidence != trace.ByTap || answer.To.Name != "host" {
				t.Errorf("%s of %v, related to %v, to %s, %+v", answer.Direction, answer.Flows, answer.Related, answer.To.Name, answer.Verdict)
			}
		})
	}
}

// TestAnswerBeginsAFlowInItsZone: a datagram that answers from another zone has an entry
// there, and the host, for which it then is, refuses it.
func TestAnswerBeginsAFlowInItsZone(t *testing.T) {
	needPrograms(t, "conntrack")
	leak.Check(t)
	h := dockerHost(t)
	const port = 5330
	server := netip.AddrPortFrom(lab.ServerAddress, port)
	echoAt(t, h.Internet(), server)
	hooking(t, "type filter hook prerouting priority raw", "iifname docker0 ct zone set 5")
	w := startWatch(t, Config{})
	c, err := lab.DialUDP(h.Find("back").Namespace(), netip.AddrPort{}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	question := w.udpTo("the question", port)
	answer := w.journey("the answer", func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.SourcePort == port
	})
	refusal := w.journey("its refusal", func(j *trace.Journey) bool {
		return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPType == 3
	})
	if len(question.Translations) != 1 || len(question.Flows) != 1 || question.Flows[0].Zone != 5 || question.Flows[0].ReplyZone != 5 {
		t.Errorf("the question: %+v of %+v", question.Translations, question.Flows)
	}
	if len(answer.Translations) != 0 || len(answer.Flows) != 1 || answer.Flows[0].Zones() != [2]uint16{} || answer.Direction != trace.Original ||
		answer.Verdict.Result != trace.Delivered || answer.Verdict.Evidence != trace.ByConntrack || !strings.Contains(strings.Join(answer.Notes, "; "), "has a flow of its own there") {
		t.Errorf("the answer: %+v of %+v, %+v, %q", answer.Translations, answer.Flows, answer.Verdict, answer.Notes)
	}
	if got := pathOf(refusal); got != "host/eth0:out" || len(refusal.Translations) != 0 || len(refusal.Related) != 1 || refusal.Related[0].ID != answer.ID {
		t.Errorf("the refusal: %s, %+v, related to %v", got, refusal.Translations, refusal.Related)
	}
}
