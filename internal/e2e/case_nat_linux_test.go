package e2e

import (
	"context"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// A server on all addresses of a host with two answers from the nearer one.
func TestCaseAnswerFromTheWrongAddress(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	l := &load{t: t, e: e}
	l.answerUDP(e.Internet(), netip.MustParseAddrPort("0.0.0.0:5300"))
	c := startCase(t, e)
	u, err := lab.DialUDP(e.Namespace("back"), netip.MustParseAddrPort("0.0.0.0:34000"), netip.AddrPortFrom(internet, 5300))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if _, err := lab.Exchange(ctx, u, l.words(30)); err == nil {
		t.Fatal("the answer arrived")
	}
	l.must(u.Close())
	journeys, _ := c.end()
	question := only(t, "question", with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 34000 }))
	answer := only(t, "answer", with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 5300 }))
	same(t, "path", shape(answer), "host:eth0 in")
	if len(answer.Notes) != 1 || !strings.Contains(answer.Notes[0], "looks like an answer to #"+strconv.FormatUint(question.ID, 10)+", which asked 198.51.100.7") {
		t.Errorf("notes %q, verdict %+v", answer.Notes, answer.Verdict)
	}
	refused := only(t, "error", with(journeys, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 3 }))
	if len(refused.Related) != 1 || refused.Related[0].Why != "error_about" || refused.Related[0].ID != answer.ID {
		t.Errorf("the error is related to %+v, want #%d", refused.Related, answer.ID)
	}
}

func TestCaseRedirectAndOtherPorts(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	e.Run("--name", "front", "box")
	rule := func(op string, args ...string) {
		must(t, e.Command("iptables", append([]string{"-t", "nat", op}, args...)...))
	}
	redirect := []string{"PREROUTING", "-i", "docker0", "-p", "tcp", "--dport", "8099", "-j", "REDIRECT", "--to-ports", "8098"}
	random := []string{"POSTROUTING", "-s", "172.17.0.0/16", "-p", "udp", "-o", "eth0", "-j", "MASQUERADE", "--to-ports", "40000-40999", "--random-fully"}
	for _, args := range [][]string{redirect, random} {
		rule("-I", args...)
		defer rule("-D", args...)
	}
	l := &load{t: t, e: e}
	l.answerTCP(e.Host(), 8098)
	l.answerUDP(e.Internet(), netip.AddrPortFrom(internet, 5000))
	c := startCase(t, e)
	l.connect(e.Namespace("back"), 35000, netip.AddrPortFrom(internet, 8099), 1)
	for _, name := range []string{"back", "front"} {
		u, err := lab.DialUDP(e.Namespace(name), netip.MustParseAddrPort("0.0.0.0:35001"), netip.AddrPortFrom(internet, 5000))
		if err != nil {
			t.Fatal(err)
		}
		_, err = lab.Exchange(t.Context(), u, []byte("the same words"))
		l.must(err)
		l.must(u.Close())
	}
	journeys, _ := c.end()

	syn := only(t, "SYN", segments(journeys, 35000, "SYN"))
	same(t, "redirected to", syn.End(), "delivered at host:docker0 in")
	if len(syn.Translations) != 1 || syn.Translations[0].Kind != "redirect" || syn.Translations[0].After.Destination.Port != 8098 {
		t.Errorf("SYN: %+v", syn.Translations)
	}
	seen := map[uint16]string{}
	for _, j := range with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 35001 }) {
		if len(j.Translations) != 1 {
			t.Fatalf("%s: %+v", shape(j), j.Translations)
		}
		tr := j.Translations[0]
		port := tr.After.Source.Port
		if tr.Kind != "masquerade" || tr.Rule == nil || !strings.Contains(tr.Rule.Text, "--to-ports 40000-40999 --random-fully") || port < 40000 || port > 40999 {
			t.Errorf("%+v, rule %+v", tr, tr.Rule)
		}
		seen[port] = j.From.Name
	}
	if len(seen) != 2 {
		t.Errorf("ports %v, want one for each container", seen)
	}
	for port, name := range seen {
		answer := only(t, "answer", with(journeys, func(j *journey) bool { return j.Hops[0].Destination.Port == port }))
		same(t, "answer to port "+strconv.Itoa(int(port)), answer.To.Name, name)
	}
}
