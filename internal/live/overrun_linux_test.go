package live

import (
	"fmt"
	"net/netip"
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

// listenAnew opens a watch whose connection tracking is listened to as config says,
// in these namespaces only.
func listenAnew(t *testing.T, config netfilter.ConntrackConfig, in ...*netns.Handle) *watch {
	t.Helper()
	s, err := Open(t.Context(), Config{Host: netinfo.Options{NoEngine: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.tracking.Close(); err != nil {
		t.Fatal(err)
	}
	if s.tracking, err = netfilter.NewConntrack(config); err != nil {
		t.Fatal(err)
	}
	for _, h := range in {
		if err := s.tracking.Attach(h); err != nil {
			t.Fatal(err)
		}
	}
	return runWatch(t, s, nil)
}

// knocks sends one datagram from each of so many new sockets.
func knocks(t *testing.T, from *netns.Handle, to netip.AddrPort, n int) {
	t.Helper()
	for i := range n {
		c, err := lab.DialUDP(from, netip.AddrPort{}, to)
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(c, "number %d", i)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// New flows come faster than a small buffer can tell of them. What was lost is a
// number; meanwhile nothing is called dropped or leaked, and no translation is made
// up; after the next dump, flows are known again.
func TestConntrackThatOverruns(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	// Between two reads more comes than the least buffer of the kernel holds.
	w := listenAnew(t, netfilter.ConntrackConfig{HostBuffer: 1, Buffer: 1, Interval: 300 * time.Millisecond}, h.Namespace(), back.Namespace())
	to := netip.AddrPortFrom(lab.ServerAddress, 5320)
	heard, err := lab.ListenUDP(h.Internet(), to) // who is there sends no errors
	if err != nil {
		t.Fatal(err)
	}
	defer heard.Close()
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 90, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	const flood = 300
	knocks(t, back.Namespace(), to, flood)
	asked := func(j *trace.Journey) bool {
		return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == to.Port()
	}
	w.until("all are shown, and the loss is counted", func() bool {
		n := 0
		for _, j := range w.journeys {
			if asked(j) && j.Supersedes == 0 {
				n++
			}
		}
		return n >= flood && w.session.Summary().ConntrackLost > 0
	})
	const path = "back/eth0:out host/%s:in host/docker0:in host/eth0:out"
	inferred := 0
	for _, j := range w.all(asked) {
		if got := pathOf(j); got != fmt.Sprintf(path, back.HostLink) || j.Verdict.Result != trace.Left || j.Verdict.Leak || len(j.Translations) != 1 {
			t.Errorf("%s: %s, %+v, %s", j.Hops[0].Headers.Tuple, got, j.Verdict, changesOf(j))
			continue
		}
		if j.Translations[0].Evidence == trace.ByInference {
			inferred++
			if len(j.Notes) == 0 {
				t.Errorf("%s: it is not said that the translation is inferred", j.Hops[0].Headers.Tuple)
			}
		}
	}
	t.Logf("%d of %d translations are inferred, %d events were lost", inferred, flood, w.session.Summary().ConntrackLost)
	if inferred == 0 {
		t.Error("every flow was known: nothing of this was tested")
	}
	// Quiet again, a new flow is known.
	w.until("a flow that is known", func() bool {
		w.mu.Unlock()
		_, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 91, Seq: 1})
		w.mu.Lock()
		if err != nil {
			return false
		}
		for _, j := range w.journeys {
			if j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPID == 91 && len(j.Translations) == 1 && j.Translations[0].Evidence == trace.ByConntrack {
				return true
			}
		}
		return false
	})
	for _, j := range w.all(func(*trace.Journey) bool { return true }) {
		if j.Verdict.Result == trace.Dropped || j.Verdict.Leak {
			t.Errorf("%s: %+v", pathOf(j), j.Verdict)
		}
	}
}

// Where nobody can listen to connection tracking, translations are inferred, and no
// drop is claimed for want of an entry.
func TestNamespaceWithoutConntrack(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	w := listenAnew(t, netfilter.ConntrackConfig{}, back.Namespace())
	if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 92, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	knocks(t, h.Internet(), netip.AddrPortFrom(lab.HostAddress, 5321), 1)
	j := w.journey("a request", func(j *trace.Journey) bool { return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPType == 8 })
	if got, want := pathOf(j)+" | "+changesOf(j), "back/eth0:out host/"+back.HostLink+":in host/docker0:in host/eth0:out | snat[2 3] by ? [inferred]"; got != want || len(j.Flows) != 0 || len(j.Notes) != 1 {
		t.Errorf("%s, flows %v, notes %q\nwant %s", got, j.Flows, j.Notes, want)
	}
	j = w.udpTo("a datagram to the host", 5321)
	if j.Verdict.Result == trace.Dropped && j.Verdict.Evidence == trace.ByInference {
		t.Errorf("%s: %+v", pathOf(j), j.Verdict)
	}
}
