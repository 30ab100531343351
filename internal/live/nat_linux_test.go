package live

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Two containers use one source port, or one echo id, to one destination: NAT must
// give one of them another, and each answer finds its own.
func TestCollidingSources(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	const port, number = 5310, 4100
	server := netip.AddrPortFrom(lab.ServerAddress, port)
	echoAt(t, h.Internet(), server)
	w := startWatch(t, Config{})
	for _, name := range []string{"back", "database"} {
		c, err := lab.DialUDP(h.Find(name).Namespace(), netip.AddrPortFrom(netip.IPv4Unspecified(), number), server)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := lab.Exchange(t.Context(), c, []byte("the same words")); err != nil {
			t.Fatal(err)
		}
		if _, err := lab.Ping(t.Context(), h.Find(name).Namespace(), lab.ServerAddress, lab.Echo{ID: number, Seq: 1, Payload: []byte("the same ping")}); err != nil {
			t.Fatal(err)
		}
	}
	for what, of := range map[string]struct {
		protocol packet.Protocol
		number   func(*packet.Headers) uint16
	}{
		"datagram": {packet.UDP, func(h *packet.Headers) uint16 { return h.Tuple.SourcePort }},
		"ping":     {packet.ICMP, func(h *packet.Headers) uint16 { return h.ICMPID }},
	} {
		numbers := map[uint16]string{}
		for _, name := range []string{"back", "database"} {
			c := h.Find(name)
			j := w.journey(what+" of "+name, func(j *trace.Journey) bool {
				return j.Protocol == of.protocol && j.From.Name == name && of.number(&j.Hops[0].Headers) == number
			})
			expect(t, j, name+"/eth0:out host/"+c.HostLink+":in host/docker0:in host/eth0:out", "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
			numbers[of.number(&j.Hops[len(j.Hops)-1].Headers)] = name
			answer := w.journey("answer to "+what+" of "+name, func(a *trace.Journey) bool {
				return len(a.Related) == 1 && a.Related[0] == trace.Relation{ID: j.ID, Why: "reply_to"}
			})
			expect(t, answer, "host/eth0:in host/docker0:out host/"+c.HostLink+":out "+name+"/eth0:in", "undo masquerade[0 1] by POSTROUTING [conntrack]", trace.Delivered)
			if answer.To.Name != name {
				t.Errorf("the answer to %s is for %q", name, answer.To.Name)
			}
		}
		if len(numbers) != 2 || numbers[number] != "back" {
			t.Errorf("%s: %v leave, want %d for back and another for database", what, numbers, number)
		}
	}
}

// knock dials what nobody answers.
func knock(t *testing.T, in *netns.Handle, to netip.AddrPort) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	c, err := lab.DialTCP(ctx, in, netip.AddrPort{}, to)
	if err == nil {
		_ = c.Close()
		t.Errorf("%v was reached", to)
	}
}

// synTo waits for the journey of a SYN to that port, as it was first seen.
func (w *watch) synTo(port uint16) *trace.Journey {
	w.t.Helper()
	return w.journey("SYN", func(j *trace.Journey) bool {
		first := &j.Hops[0].Headers
		return j.Protocol == packet.TCP && first.TCPFlags == packet.SYN && first.Tuple.DestinationPort == port
	})
}

// A packet that is translated and then dropped never has a conntrack entry: its
// translation rests on the rule.
func TestTranslatedThenDropped(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	filtering(t, "forward", "ct state new tcp dport 8000 counter drop")
	w := startWatch(t, Config{})
	knock(t, h.Internet(), netip.AddrPortFrom(lab.HostAddress, 8000))
	j := w.synTo(8000)
	if got, want := pathOf(j)+" | "+changesOf(j), "host/eth0:in | dnat[0 -1] by DOCKER [evaluated]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if tr := j.Translations[0]; tr.ConntrackID != 0 || tr.After.Destination() != back.Address || tr.After.DestinationPort != 8000 {
		t.Errorf("%+v", tr)
	}
	if v := j.Verdict; v.Result != trace.Dropped || v.Hook != "forward" || v.Rule == nil || v.Rule.Chain != "test" || len(j.Flows) != 0 {
		t.Errorf("verdict %+v, flows %v", v, j.Flows)
	}
	if j.To.Name != "back" {
		t.Errorf("to %q", j.To.Name)
	}
	if n := dropped(t); n == "0" {
		t.Error("nft counted no drop")
	}
}

// A container calls a published port of its own bridge by the host's address,
// without docker-proxy. The answer goes back through NAT only where bridge
// netfilter makes bridged packets pass it.
func TestHairpin(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back, database := h.Find("back"), h.Find("database")
	translating(t, "ip daddr 192.0.2.10 tcp dport 8001 dnat to 172.17.0.2:8000")
	port, err := netlink.LinkByName(back.HostLink)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetHairpin(port, true); err != nil {
		t.Fatal(err)
	}
	published := netip.AddrPortFrom(lab.HostAddress, 8001)
	answerTo := func(w *watch, question *trace.Journey) *trace.Journey {
		return w.journey("SYN-ACK", func(j *trace.Journey) bool {
			return j.Protocol == packet.TCP && j.Hops[0].Headers.TCPFlags == packet.SYN|packet.ACK &&
				len(j.Related) == 1 && j.Related[0].ID == question.ID
		})
	}
	for _, c := range []struct {
		what    string
		from    *lab.Container
		on      string
		kinds   string
		answers string // how the answer goes
	}{
		{"neighbour, filtered", database, "1", "dnat by test", "undo dnat by test"},
		{"own, filtered", back, "1", "dnat by test, masquerade by POSTROUTING", "undo masquerade by POSTROUTING, undo dnat by test"},
		{"own, unfiltered", back, "0", "dnat by test, masquerade by POSTROUTING", "undo masquerade by POSTROUTING, undo dnat by test"},
	} {
		t.Run(c.what, func(t *testing.T) {
			bridgeNetfilter(t, h, c.on)
			w := startWatch(t, Config{})
			if _, err := lab.Get(t.Context(), c.from.Namespace(), published); err != nil {
				t.Fatal(err)
			}
			question := w.synTo(8001)
			if got := kindsAndChains(question); got != c.kinds || question.Verdict.Result != trace.Delivered || question.To.Name != "back" {
				t.Errorf("%s to %s: %s, %+v; want %s", pathOf(question), question.To.Name, got, question.Verdict, c.kinds)
			}
			answer := answerTo(w, question)
			if got := kindsAndChains(answer); got != c.answers || answer.Verdict.Result != trace.Delivered || answer.To.Name != c.from.Name || len(answer.Notes) > 0 {
				t.Errorf("%s to %s: %s, %+v, %q; want %s", pathOf(answer), answer.To.Name, got, answer.Verdict, answer.Notes, c.answers)
			}
		})
	}
	t.Run("neighbour, unfiltered", func(t *testing.T) {
		bridgeNetfilter(t, h, "0")
		w := startWatch(t, Config{})
		knock(t, database.Namespace(), published)
		answer := answerTo(w, w.synTo(8001))
		if got := kindsAndChains(answer); got != "" || len(answer.Notes) != 1 ||
			!strings.HasPrefix(answer.Notes[0], "came over the bridge un-NATed: from 172.17.0.2:8000 where 192.0.2.10:8001 was asked") {
			t.Errorf("%s: %s, %q", pathOf(answer), got, answer.Notes)
		}
		w.journey("RST", func(j *trace.Journey) bool {
			return j.Protocol == packet.TCP && j.From.Name == "database" && j.Hops[0].Headers.TCPFlags&packet.RST != 0
		})
	})
}

// kindsAndChains are the translations of a journey, wherever they stand.
func kindsAndChains(j *trace.Journey) string {
	var all []string
	for _, tr := range j.Translations {
		s := tr.Kind + " by ?"
		if tr.Rule != nil {
			s = tr.Kind + " by " + tr.Rule.Chain
		}
		if tr.Undo {
			s = "undo " + s
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// What the host is sent and drops at INPUT looks to a tap as what it takes.
func TestDeliveryAgainstInput(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	const closed, open = 5320, 5321
	bridge := lab.BridgePrefix.Addr()
	filtering(t, "input", "tcp dport 5320 counter drop\n ip daddr 172.17.0.1 icmp type echo-request counter drop")
	web, err := lab.ServeHTTP(h.Namespace(), netip.AddrPortFrom(bridge, open), "hello")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	back := h.Find("back")
	w := startWatch(t, Config{})
	if _, err := lab.Get(t.Context(), back.Namespace(), netip.AddrPortFrom(bridge, open)); err != nil {
		t.Fatal(err)
	}
	knock(t, back.Namespace(), netip.AddrPortFrom(bridge, closed))
	ping := func(to netip.Addr, id uint16) (*trace.Journey, error) {
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		_, err := lab.Ping(ctx, back.Namespace(), to, lab.Echo{ID: id, Seq: 1})
		return w.journey("ping", func(j *trace.Journey) bool { return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPID == id }), err
	}
	refused, err := ping(bridge, 81)
	if err == nil {
		t.Error("the host answered")
	}
	taken, _ := ping(lab.HostAddress, 82)
	for what, c := range map[string]struct {
		j        *trace.Journey
		result   trace.Result
		evidence []trace.Evidence
	}{
		"SYN, open":     {w.synTo(open), trace.Delivered, []trace.Evidence{trace.ByConntrack}},
		"SYN, closed":   {w.synTo(closed), trace.Dropped, []trace.Evidence{trace.ByRules, trace.ByCounter}},
		"ping, refused": {refused, trace.Dropped, []trace.Evidence{trace.ByRules, trace.ByCounter}},
		"ping, taken":   {taken, trace.Delivered, []trace.Evidence{trace.ByConntrack}},
	} {
		path := "back/eth0:out host/" + back.HostLink + ":in host/docker0:in"
		v := c.j.Verdict
		if pathOf(c.j) != path || v.Result != c.result || !slices.Contains(c.evidence, v.Evidence) {
			t.Errorf("%s: %s, %+v, want %s by one of %v", what, pathOf(c.j), v, c.result, c.evidence)
		}
		if dropped := v.Result == trace.Dropped; dropped && (v.Hook != "input" || v.Rule == nil || v.Rule.Chain != "test") {
			t.Errorf("%s: %+v", what, v)
		}
	}
	if n := dropped(t); n[:1] == "0" || strings.HasSuffix(n, " 0") {
		t.Errorf("nft counted %s drops", n)
	}
}
