package live

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// expect compares what is said of a journey.
func expect(t *testing.T, j *trace.Journey, path, changes string, verdict trace.Result) {
	t.Helper()
	if got := pathOf(j); got != path {
		t.Errorf("path\n got %s\nwant %s", got, path)
	}
	if got := changesOf(j); got != changes {
		t.Errorf("changes\n got %s\nwant %s", got, changes)
	}
	if j.Verdict.Result != verdict {
		t.Errorf("verdict %s (%s), want %s", j.Verdict.Result, j.Verdict.Reason, verdict)
	}
	if len(j.Notes) > 0 {
		t.Errorf("notes %q", j.Notes)
	}
}

func TestWholeJourneys(t *testing.T) {
	leak.Check(t)
	leak.CheckHost(t)
	h := dockerHost(t)
	back, database := h.Find("back"), h.Find("database")
	const dnsPort = 5300
	echo, err := lab.EchoUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, dnsPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	web, err := lab.ServeHTTP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 80), "hello")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })

	w := startWatch(t, Config{})
	if n := w.session.Watching(); len(n.Names) != 3 || len(n.LeftOut) != 0 || len(n.Partly) != 0 {
		t.Errorf("watching %+v", n)
	}
	veth, port := "host/"+back.HostLink, "host/"+database.HostLink
	out := "back/eth0:out " + veth + ":in host/docker0:in host/eth0:out"
	in := "host/eth0:in host/docker0:out " + veth + ":out back/eth0:in"
	const masquerade = "masquerade[2 3] by POSTROUTING [conntrack]"
	const undoMasquerade = "undo masquerade[0 1] by POSTROUTING [conntrack]"

	t.Run("ping", func(t *testing.T) {
		if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: 7, Seq: 1, Payload: []byte("ping")}); err != nil {
			t.Fatal(err)
		}
		request := w.journey("echo request", func(j *trace.Journey) bool {
			return j.Hops[0].Headers.ICMPType == 8 && j.Protocol == packet.ICMP
		})
		expect(t, request, out, masquerade, trace.Left)
		reply := w.journey("echo reply", func(j *trace.Journey) bool {
			return j.Hops[0].Headers.ICMPType == 0 && j.Protocol == packet.ICMP
		})
		expect(t, reply, in, undoMasquerade, trace.Delivered)
		if r := reply.Related; len(r) != 1 || r[0] != (trace.Relation{ID: request.ID, Why: "reply_to"}) {
			t.Errorf("the reply is related to %v", r)
		}
		if request.From.Name != "back" || request.Flows[0].ID == 0 || request.Translations[0].ConntrackID != request.Flows[0].ID {
			t.Errorf("from %q, flows %v, translation by flow %d", request.From.Name, request.Flows, request.Translations[0].ConntrackID)
		}
	})
	t.Run("udp", func(t *testing.T) {
		c, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, dnsPort))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := lab.Exchange(t.Context(), c, []byte("question")); err != nil {
			t.Fatal(err)
		}
		udp := func(d trace.FlowDirection) func(*trace.Journey) bool {
			return func(j *trace.Journey) bool { return j.Protocol == packet.UDP && j.Direction == d }
		}
		expect(t, w.journey("question", udp(trace.Original)), out, masquerade, trace.Left)
		expect(t, w.journey("answer", udp(trace.Reply)), in, undoMasquerade, trace.Delivered)
	})
	t.Run("tcp", func(t *testing.T) {
		if _, err := lab.Get(t.Context(), back.Namespace(), netip.AddrPortFrom(lab.ServerAddress, 80)); err != nil {
			t.Fatal(err)
		}
		tcp := func(flags uint8) func(*trace.Journey) bool {
			return func(j *trace.Journey) bool {
				h := &j.Hops[0].Headers
				return j.Protocol == packet.TCP && h.TCPFlags == flags && (h.Tuple.DestinationPort == 80 || h.Tuple.SourcePort == 80)
			}
		}
		expect(t, w.journey("SYN", tcp(packet.SYN)), out, masquerade, trace.Left)
		expect(t, w.journey("SYN-ACK", tcp(packet.SYN|packet.ACK)), in, undoMasquerade, trace.Delivered)
	})
	t.Run("published port", func(t *testing.T) {
		if _, err := lab.Get(t.Context(), h.Internet(), netip.AddrPortFrom(lab.HostAddress, 8000)); err != nil {
			t.Fatal(err)
		}
		syn := w.journey("SYN", func(j *trace.Journey) bool {
			h := &j.Hops[0].Headers
			return j.Protocol == packet.TCP && h.TCPFlags == packet.SYN && h.Tuple.DestinationPort == 8000
		})
		expect(t, syn, in, "dnat[0 1] by DOCKER [conntrack]", trace.Delivered)
		if syn.To.Name != "back" {
			t.Errorf("to %q", syn.To.Name)
		}
	})
	t.Run("neighbours", func(t *testing.T) {
		if _, err := lab.Ping(t.Context(), back.Namespace(), database.Address, lab.Echo{ID: 8, Seq: 1}); err != nil {
			t.Fatal(err)
		}
		request := w.journey("echo request", func(j *trace.Journey) bool {
			return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPType == 8 && j.To.Name == "database"
		})
		expect(t, request, "back/eth0:out "+veth+":in "+port+":out database/eth0:in", "", trace.Delivered)
	})

	// The rings end one after the other: what is still under way then is not whole.
	w.until("both connections' ends are acknowledged", func() bool {
		acknowledged := 0
		for _, fin := range w.journeys {
			h := &fin.Hops[0].Headers
			if fin.Protocol == packet.TCP && h.TCPFlags&packet.FIN != 0 && slices.ContainsFunc(w.journeys, func(j *trace.Journey) bool {
				first := &j.Hops[0].Headers
				return j.Protocol == packet.TCP && first.TCPFlags&packet.ACK != 0 && first.TCPAck == h.TCPSeq+h.PayloadLength+1
			}) {
				acknowledged++
			}
		}
		return acknowledged == 4
	})
	n := w.end()
	if n.RingDrops+n.ConntrackLost+n.QueueDrops+n.Evicted+n.Malformed+n.Unpaired != 0 {
		t.Errorf("lost or left over: %+v\n%s", n, w.account())
	}
	for _, j := range w.all(func(j *trace.Journey) bool {
		// The kernel itself reports its multicast groups to every port.
		return (len(j.Hops) != 4 || j.Supersedes != 0) && !j.To.IP.IsMulticast()
	}) {
		t.Errorf("not whole: %s, superseding %d", pathOf(j), j.Supersedes)
	}
}

func TestSessionWithoutRun(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	s, err := Open(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSessionThatIsOverBeforeItBegins(t *testing.T) {
	leak.Check(t)
	dockerHost(t)
	s, err := Open(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	records := make(chan Record)
	if err := s.Run(ctx, records); err != nil {
		t.Error(err)
	}
	if _, open := <-records; open {
		t.Error("a record, and nobody sent a packet")
	}
}
