package live

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// udpTo waits for the journey of a datagram that was sent to that port.
func (w *watch) udpTo(what string, port uint16) *trace.Journey {
	w.t.Helper()
	return w.journey(what, func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == port
	})
}

// warned waits for a warning.
func (w *watch) warned(words string) {
	w.t.Helper()
	w.until("a warning of "+words, func() bool {
		for _, s := range w.warnings {
			if strings.Contains(s, words) {
				return true
			}
		}
		return false
	})
}

// echoAt answers datagrams until the test ends.
func echoAt(t *testing.T, in *netns.Handle, at netip.AddrPort) {
	t.Helper()
	s, err := lab.EchoUDP(in, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
}

// exchange asks once from a socket of its own.
func exchange(t *testing.T, in *netns.Handle, to netip.AddrPort) {
	t.Helper()
	c, err := lab.DialUDP(in, netip.AddrPort{}, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := lab.Exchange(t.Context(), c, []byte("question")); err != nil {
		t.Fatal(err)
	}
}

// A flow that is older than the watch is in the table: what masquerades it is
// known, though nobody saw it begin.
func TestFlowOlderThanTheWatch(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	server := netip.AddrPortFrom(lab.ServerAddress, 5300)
	echoAt(t, h.Internet(), server)
	c, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(words string) {
		t.Helper()
		if _, err := lab.Exchange(t.Context(), c, []byte(words)); err != nil {
			t.Fatal(err)
		}
	}
	ask("before")
	w := startWatch(t, Config{})
	// The dump comes with the first packets; the question is put until it has.
	for range 20 {
		ask("since")
	}
	veth := "host/" + back.HostLink
	asked := w.udpTo("question", server.Port())
	unseen(t, asked)
	expect(t, asked, "back/eth0:out "+veth+":in host/docker0:in host/eth0:out", "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
	if asked.Direction != trace.Original || asked.Flows[0].ID == 0 {
		t.Errorf("direction %s, flows %+v", asked.Direction, asked.Flows)
	}
	answer := w.journey("answer", func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.SourcePort == server.Port()
	})
	unseen(t, answer)
	expect(t, answer, "host/eth0:in host/docker0:out "+veth+":out back/eth0:in", "undo masquerade[0 1] by POSTROUTING [conntrack]", trace.Delivered)
}

// unseen takes off the only note that a journey must have: nobody saw its flow
// begin.
func unseen(t *testing.T, j *trace.Journey) {
	t.Helper()
	if len(j.Notes) != 1 || !strings.HasPrefix(j.Notes[0], "this flow began unseen: ") {
		t.Errorf("notes %q", j.Notes)
	}
	j.Notes = nil
}

// setEvents sets net.netfilter.nf_conntrack_events of the host until the test
// ends.
func setEvents(t *testing.T, host *netns.Handle, value string) {
	t.Helper()
	const path = "/proc/sys/net/netfilter/nf_conntrack_events"
	var was []byte
	set := func(value []byte) error {
		return host.Do(func() (err error) {
			if was, err = os.ReadFile(path); err != nil {
				return err
			}
			return os.WriteFile(path, value, 0)
		})
	}
	if err := set([]byte(value)); err != nil {
		t.Skipf("needs to set %s: %v", path, err)
	}
	before := was
	t.Cleanup(func() {
		if err := set(before); err != nil {
			t.Error(err)
		}
	})
}

// Without events nobody tells of a flow that begins. Translations are inferred,
// which is said; and that a packet has no entry is no sign of a drop.
func TestConntrackWithoutEvents(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 70, Seq: 1}); err != nil {
		t.Fatal(err) // so that the table has an entry, and connections are known to be tracked
	}
	const toHost, outside = 5301, 5302
	echoAt(t, h.Namespace(), netip.AddrPortFrom(lab.HostAddress, toHost))
	echoAt(t, h.Internet(), netip.AddrPortFrom(lab.ServerAddress, outside))
	setEvents(t, h.Namespace(), "0")
	w := startWatch(t, Config{})
	w.warned("tells of no flow that begins")
	exchange(t, back.Namespace(), netip.AddrPortFrom(lab.ServerAddress, outside))
	exchange(t, h.Internet(), netip.AddrPortFrom(lab.HostAddress, toHost))
	j := w.udpTo("a datagram out", outside)
	const inferred = "no conntrack entry known: hops joined because nothing else fits"
	if got, want := pathOf(j)+" | "+changesOf(j), "back/eth0:out host/"+back.HostLink+":in host/docker0:in host/eth0:out | snat[2 3] by ? [inferred]"; got != want ||
		len(j.Notes) != 1 || j.Notes[0] != inferred || j.Verdict.Result != trace.Left {
		t.Errorf("%s, notes %q, %+v\nwant %s", got, j.Notes, j.Verdict, want)
	}
	j = w.udpTo("a datagram to the host", toHost)
	if v := j.Verdict; v.Result != trace.Unfinished || !strings.Contains(v.Reason, "it came to host") || !strings.Contains(v.Reason, "nf_conntrack_events = 0") {
		t.Errorf("%s: %+v", pathOf(j), v)
	}
}

// What a rule takes out of connection tracking has no entry and is not dropped.
func TestPacketsThatAreNotTracked(t *testing.T) {
	needPrograms(t, "nft")
	leak.Check(t)
	h := dockerHost(t)
	const exempt = 5303
	// It answers: that is tracked, and makes the question look like a reply.
	echoAt(t, h.Namespace(), netip.AddrPortFrom(lab.HostAddress, exempt))
	nft := func(line string) {
		t.Helper()
		if err := h.Namespace().Do(func() error { return exec.Command("nft", line).Run() }); err != nil {
			t.Fatalf("nft %s: %v", line, err)
		}
	}
	nft("add table ip exempt; add chain ip exempt pre { type filter hook prerouting priority raw; }; add rule ip exempt pre udp dport 5303 notrack")
	t.Cleanup(func() { nft("delete table ip exempt") })
	w := startWatch(t, Config{})
	w.warned("takes packets out of connection tracking")
	if _, err := lab.Ping(t.Context(), h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 71, Seq: 1}); err != nil {
		t.Fatal(err) // others are tracked
	}
	w.journey("a ping", func(j *trace.Journey) bool { return j.Protocol == packet.ICMP })
	exchange(t, h.Internet(), netip.AddrPortFrom(lab.HostAddress, exempt))
	j := w.udpTo("a datagram", exempt)
	if v := j.Verdict; v.Result != trace.Unfinished || j.Direction != trace.NoDirection || len(j.Flows) != 0 ||
		!strings.Contains(v.Reason, "a rule takes it out of connection tracking (notrack); the rules as they are let it pass") {
		t.Errorf("%s: %s of %v, %+v", pathOf(j), j.Direction, j.Flows, v)
	}
	// What the same rule does not mean is dropped when it has no entry.
	nft("add chain ip exempt in { type filter hook input priority filter; }; add rule ip exempt in udp dport 5304 drop")
	w.until("word of the rule", func() bool {
		return slices.ContainsFunc(w.changes, func(c netinfo.Change) bool { return c.Kind == "ruleset" })
	})
	c, err := lab.DialUDP(h.Internet(), netip.AddrPort{}, netip.AddrPortFrom(lab.HostAddress, exempt+1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("tracked")); err != nil {
		t.Fatal(err)
	}
	if j := w.udpTo("a datagram that is dropped", exempt+1); j.Verdict.Result != trace.Dropped || j.Verdict.Hook != netfilter.Input {
		t.Errorf("%s: %+v", pathOf(j), j.Verdict)
	}
}

// An address goes to the next container as soon as its owner has ended: each
// packet's journey names who had it then.
func TestAddressThatIsUsedAgain(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	w := startWatch(t, Config{})
	for _, name := range []string{"first", "second"} {
		b := mustBox(t, name, 30)
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for seq := uint16(1); ; seq++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				short, cancel := context.WithTimeout(t.Context(), time.Second)
				_, _ = lab.Ping(short, b.ns, lab.ServerAddress, lab.Echo{ID: 72, Seq: seq, Payload: []byte(name)}) // while the link comes up some are lost
				cancel()
			}
		}()
		w.journey("a ping of "+name, whole(name, b.link))
		close(stop)
		<-ended
		if err := b.remove(); err != nil {
			t.Fatal(err)
		}
		w.until("the end of "+name, func() bool { return !b.there() })
	}
	w.end()
	for _, j := range w.all(func(j *trace.Journey) bool { return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPID == 72 }) {
		payload := string(j.Hops[0].Headers.Payload(j.Data))
		named := j.From.Name
		if j.Hops[0].Headers.ICMPType == 0 {
			named = j.To.Name
		}
		if named != payload && named != "" {
			t.Errorf("a packet of %q is said to be of %q: %s", payload, named, pathOf(j))
		}
		if r := j.Verdict.Result; r == trace.Dropped {
			t.Errorf("%s: %+v", pathOf(j), j.Verdict)
		}
	}
}
