package netfilter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
	"natlens/internal/lab/labtest"
	"natlens/netinfo/netns"
)

// record gathers what a Conntrack sends.
type record struct {
	mu      sync.Mutex
	events  []Event
	through int64
	all     Batch // sums
	synced  map[netns.ID]int
	flows   map[flowKey]Flow // what is in the table, by a consumer's rules
	named   map[flowKey]int64
	errors  []error
}

func (r *record) add(b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Namespace == 0 {
		if b.Through < r.through {
			r.errors = append(r.errors, fmt.Errorf("Through fell from %d to %d", r.through, b.Through))
		}
		r.through = b.Through
	}
	r.events = append(r.events, b.Events...)
	r.all.Overruns += b.Overruns
	r.all.Lost += b.Lost
	r.all.Malformed += b.Malformed
	if b.DumpError != nil {
		r.errors = append(r.errors, b.DumpError)
	}
	for _, e := range b.Events {
		if e.Before < e.After || e.Before <= r.through-int64(time.Hour) {
			r.errors = append(r.errors, fmt.Errorf("%v happened in [%d, %d]", e.Kind, e.After, e.Before))
		}
		r.named[e.Flow.key()] = e.Before
		if e.Kind == Destroy {
			delete(r.flows, e.Flow.key())
		} else {
			r.flows[e.Flow.key()] = e.Flow
		}
	}
	if b.Synced {
		r.synced[b.Namespace]++
		r.all.Entries, r.all.MaxEntries = b.Entries, b.MaxEntries
		for key := range r.flows {
			if r.named[key] < b.SyncedSince {
				delete(r.flows, key)
			}
		}
	}
}

func (r *record) view(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *record) dumps(id netns.ID) (n int) {
	r.view(func() { n = r.synced[id] })
	return n
}

// listen attaches a Conntrack to the namespaces, runs it until the test ends
// and returns once all have been dumped.
func listen(t *testing.T, config ConntrackConfig, handles ...*netns.Handle) (*Conntrack, *record) {
	t.Helper()
	c, err := NewConntrack(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		if err := c.Attach(h); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan Batch)
	r := &record{synced: map[netns.ID]int{}, flows: map[flowKey]Flow{}, named: map[flowKey]int64{}}
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(ctx, out); err != nil {
			t.Error(err)
		}
		close(out)
	})
	group.Go(func() {
		for b := range out {
			r.add(b)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range r.errors {
			t.Error(err)
		}
	})
	for _, h := range handles {
		eventually(t, "a namespace has been dumped", func() bool { return r.dumps(h.ID()) > 0 })
	}
	return c, r
}

// settle waits until all that has happened so far has been delivered.
func (r *record) settle(t *testing.T) {
	t.Helper()
	at := time.Now().UnixNano()
	eventually(t, "Through has passed", func() (done bool) {
		r.view(func() { done = r.through > at })
		return done
	})
}

// conntrackEvents runs conntrack -E -o id in a namespace; stop ends it and
// returns its lines.
func conntrackEvents(t *testing.T, h *netns.Handle) (stop func() []string) {
	t.Helper()
	c := command(h, "conntrack", "-E", "-o", "id")
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() }) // for a test that never comes to stop it
	// It is in its groups when the namespace has a socket that is: column 4
	// of /proc/net/netlink holds the groups, column 2 the protocol.
	eventually(t, "conntrack -E listens", func() bool {
		for _, line := range strings.Split(run(t, h, "cat /proc/net/netlink"), "\n") {
			f := strings.Fields(line)
			if len(f) > 3 && f[1] == "12" && strings.HasSuffix(f[3], "7") {
				return true
			}
		}
		return false
	})
	lines := make(chan string, 10000)
	go func() {
		s := bufio.NewScanner(pipe)
		for s.Scan() {
			lines <- s.Text()
		}
		close(lines)
	}()
	return func() []string {
		labtest.Idle(t, c.Process.Pid) // it prints as it reads
		_ = c.Process.Signal(syscall.SIGINT)
		var all []string
		for l := range lines {
			all = append(all, l)
		}
		var exit *exec.ExitError
		if err := c.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		return all
	}
}

// line writes an event as conntrack -E -o id does, without what a Flow does
// not keep and what conntrackLine leaves out.
func line(e Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s] %s", e.Kind, flowLine(e.Flow, e.Kind == Destroy))
	return b.String()
}

func flowLine(f Flow, ended bool) string {
	var b strings.Builder
	name := f.Original.Protocol.String()
	if name == "icmp6" {
		name = "icmpv6"
	}
	fmt.Fprintf(&b, "%s %d", name, f.Original.Protocol)
	if !ended || f.Timeout != 0 {
		fmt.Fprintf(&b, " %d", f.Timeout)
	}
	if f.TCPState != "" && !ended {
		b.WriteString(" " + f.TCPState)
	}
	tuple := func(t packet.Tuple) {
		fmt.Fprintf(&b, " src=%s dst=%s", t.Source(), t.Destination())
		if t.HasPorts() {
			fmt.Fprintf(&b, " sport=%d dport=%d", t.SourcePort, t.DestinationPort)
		} else {
			fmt.Fprintf(&b, " type=%d code=%d id=%d", t.DestinationPort>>8, t.DestinationPort&0xff, t.SourcePort)
		}
	}
	tuple(f.Original)
	if f.Status&SeenReply == 0 {
		b.WriteString(" [UNREPLIED]")
	}
	tuple(f.Reply)
	if f.Status&Assured != 0 {
		b.WriteString(" [ASSURED]")
	}
	fmt.Fprintf(&b, " id=%d", f.ID)
	return b.String()
}

// conntrackLine brings a line of conntrack into line's form.
func conntrackLine(s string) string {
	var words []string
	for _, w := range strings.Fields(s) {
		if strings.HasPrefix(w, "mark=") || strings.HasPrefix(w, "use=") || strings.HasPrefix(w, "packets=") || strings.HasPrefix(w, "bytes=") ||
			strings.HasPrefix(w, "portid=") || strings.HasPrefix(w, "progname=") || w == "[USERSPACE]" {
			continue
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// dropTimeout removes the seconds left, which run while two programs read.
func dropTimeout(s string) string {
	w := strings.Fields(s)
	start := 0
	if strings.HasPrefix(w[0], "[") {
		start = 1
	}
	if len(w) > start+2 && !strings.Contains(w[start+2], "=") {
		w = append(w[:start+2], w[start+3:]...)
	}
	return strings.Join(w, " ")
}

func masquerade(t *testing.T, h *netns.Handle) {
	t.Helper()
	for _, family := range []string{"ip", "ip6"} {
		script(t, h, "table "+family+" nat {\n"+
			"chain post { type nat hook postrouting priority 100; oifname eth0 masquerade random; }\n"+
			"chain pre { type nat hook prerouting priority -100; iifname eth0 tcp dport 8000 dnat to "+
			map[string]string{"ip": insideAddress, "ip6": insideAddress6}[family]+"; }\n}\n", "nft", "-f", "-")
	}
}

func TestEventsAreThoseOfConntrack(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "conntrack", "ping")
	r := newRouter(t)
	masquerade(t, r.middle)
	for _, a := range []string{outsideAddress, outsideAddress6} {
		echoServer(t, r.outside, netip.AddrPortFrom(netip.MustParseAddr(a), 7))
	}
	for _, a := range []string{insideAddress, insideAddress6} {
		echoServer(t, r.inside, netip.AddrPortFrom(netip.MustParseAddr(a), 8000))
	}
	stop := conntrackEvents(t, r.middle)
	_, rec := listen(t, ConntrackConfig{}, r.inside, r.middle, r.outside)
	run(t, r.inside, "ping -c 2 -i 0.1 -W 5 "+outsideAddress)
	run(t, r.inside, "ping -c 1 -W 5 "+outsideAddress6)
	for _, address := range []string{outsideAddress + ":7", "[" + outsideAddress6 + "]:7"} {
		talk(t, r.inside, "udp", address)
		talk(t, r.inside, "tcp", address)
	}
	for _, address := range []string{uplinkAddress + ":8000", "[" + uplinkAddress6 + "]:8000"} {
		talk(t, r.outside, "tcp", address)
	}
	run(t, r.middle, "conntrack -D -p udp")
	rec.settle(t)
	var want []string
	for _, l := range stop() {
		want = append(want, conntrackLine(l))
	}
	var got []string
	snat, dnat := 0, 0
	rec.view(func() {
		for _, e := range rec.events {
			if e.Flow.Namespace != r.middle.ID() {
				t.Errorf("event in a namespace that does not track: %+v", e)
			}
			if e.Kind == Known {
				continue
			}
			got = append(got, line(e))
			if e.Kind == New && e.Flow.SourceNAT() {
				snat++
			}
			if e.Kind == New && e.Flow.DestinationNAT() {
				dnat++
			}
			if e.After == e.Before {
				t.Errorf("event at one moment without nf_conntrack_timestamp: %+v", e)
			}
			switch s := e.Flow.Status; {
			case e.Flow.SourceNAT() != (s&SrcNAT != 0):
				t.Errorf("%s: SourceNAT %v, status %#x", line(e), e.Flow.SourceNAT(), s)
			case e.Flow.DestinationNAT() != (s&DstNAT != 0):
				t.Errorf("%s: DestinationNAT %v, status %#x", line(e), e.Flow.DestinationNAT(), s)
			}
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-conntrack +natlens):\n%s", diff)
	}
	if snat != 6 || dnat != 2 {
		t.Errorf("%d flows with source NAT and %d with destination NAT, want 6 and 2", snat, dnat)
	}
	rec.view(func() {
		if rec.all.Lost+rec.all.Malformed+rec.all.Overruns != 0 {
			t.Errorf("lost %d, malformed %d, overruns %d; want none", rec.all.Lost, rec.all.Malformed, rec.all.Overruns)
		}
	})
}

func TestDumpTellsFlowsOlderThanTheListener(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "conntrack", "ping")
	r := newRouter(t)
	masquerade(t, r.middle)
	echoServer(t, r.outside, netip.MustParseAddrPort(outsideAddress+":7"))
	talk(t, r.inside, "udp", outsideAddress+":7")
	talk(t, r.inside, "tcp", outsideAddress+":7")
	run(t, r.inside, "ping -c 1 -W 5 "+outsideAddress)
	run(t, r.inside, "ping -c 1 -W 5 "+outsideAddress6)
	_, rec := listen(t, ConntrackConfig{Redump: 20 * time.Millisecond}, r.middle)
	compareTable(t, r.middle, rec)
	rec.view(func() {
		for _, e := range rec.events {
			if e.Kind != Known {
				t.Errorf("event of a quiet namespace: %s", line(e))
			}
		}
		if rec.all.Entries != 4 || rec.all.MaxEntries == 0 {
			t.Errorf("table holds %d of %d, want 4", rec.all.Entries, rec.all.MaxEntries)
		}
	})
	// With nf_conntrack_events=2 these deletions send no event.
	run(t, r.middle, "conntrack -D -p udp")
	eventually(t, "the flow is gone from the table", func() (gone bool) {
		rec.view(func() { gone = len(rec.flows) == 3 })
		return gone
	})
	compareTable(t, r.middle, rec)
}

// compareTable checks that what a consumer knows is what conntrack -L lists.
func compareTable(t *testing.T, h *netns.Handle, rec *record) {
	t.Helper()
	b, err := command(h, "conntrack", "-L", "-o", "id").Output()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if l != "" {
			want = append(want, dropTimeout(conntrackLine(l)))
		}
	}
	rec.view(func() {
		for _, f := range rec.flows {
			got = append(got, dropTimeout(flowLine(f, false)))
		}
	})
	sort.Strings(want)
	sort.Strings(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("table (-conntrack +natlens):\n%s", diff)
	}
}

func TestOverrunIsCountedAndHealedByADump(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "conntrack")
	r := newRouter(t)
	masquerade(t, r.middle)
	// The kernel's least buffer holds a handful of events; the long interval
	// lets it overflow.
	_, rec := listen(t, ConntrackConfig{Buffer: 1, Interval: 50 * time.Millisecond}, r.middle)
	before := rec.dumps(r.middle.ID())
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":9"), 3000)
	rec.settle(t)
	eventually(t, "a dump has followed", func() bool { return rec.dumps(r.middle.ID()) > before })
	rec.settle(t)
	eventually(t, "the table is whole", func() (whole bool) {
		rec.view(func() { whole = len(rec.flows) >= 3000 })
		return whole
	})
	rec.view(func() {
		if rec.all.Overruns == 0 || rec.all.Lost == 0 {
			t.Errorf("%d overruns lost %d events, want some", rec.all.Overruns, rec.all.Lost)
		}
		if rec.all.Malformed != 0 {
			t.Errorf("%d malformed", rec.all.Malformed)
		}
	})
	compareTable(t, r.middle, rec)
}

func TestTimestampsOfTheKernelAreTaken(t *testing.T) {
	needs(t, "nsenter", "ip", "nft", "conntrack")
	r := newRouter(t)
	masquerade(t, r.middle)
	echoServer(t, r.outside, netip.MustParseAddrPort(outsideAddress+":7"))
	runWords(t, r.middle, "sh", "-c", "echo 1 >/proc/sys/net/netfilter/nf_conntrack_timestamp; echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct")
	_, rec := listen(t, ConntrackConfig{}, r.middle)
	start := time.Now().UnixNano()
	talk(t, r.inside, "udp", outsideAddress+":7")
	end := time.Now().UnixNano()
	run(t, r.middle, "conntrack -D -p udp")
	rec.settle(t)
	rec.view(func() {
		last := rec.events[len(rec.events)-1]
		if last.Kind != Destroy || last.After != last.Before {
			t.Fatalf("last event %+v, want DESTROY at one moment", last)
		}
		if f := last.Flow; f.Start < start || f.Start > end || f.Packets != [2]uint64{1, 1} || f.Bytes != [2]uint64{33, 33} {
			t.Errorf("flow %+v, want one packet of 33 bytes each way, started in [%d, %d]", f, start, end)
		}
	})
}

func TestAttachingChangesNothing(t *testing.T) {
	needs(t, "nsenter", "ip")
	h := newNamespace(t)
	settings := func() string {
		return runWords(t, h, "sh", "-c", "cat /proc/net/netfilter/nf_hooks 2>/dev/null; cat /proc/net/nf_conntrack 2>/dev/null; grep . /proc/sys/net/netfilter/nf_conntrack_* 2>/dev/null; cat /proc/modules 2>/dev/null; true")
	}
	before := settings()
	c, rec := listen(t, ConntrackConfig{}, h)
	if err := c.Attach(h); err != nil {
		t.Errorf("attach again: %v", err)
	}
	run(t, h, "ping -c 1 -W 5 127.0.0.1")
	rec.settle(t)
	if diff := cmp.Diff(before, settings()); diff != "" {
		t.Errorf("listening changed the namespace:\n%s", diff)
	}
	rec.view(func() {
		if len(rec.events) > 0 {
			t.Errorf("%d events in a namespace without rules", len(rec.events))
		}
	})
	for range 2 {
		if err := c.Detach(h.ID()); err != nil {
			t.Error(err)
		}
	}
	rec.settle(t)
}

func TestManyNamespacesAdvanceTogether(t *testing.T) {
	needs(t, "nsenter", "ip")
	var handles []*netns.Handle
	for range 60 {
		h, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		handles = append(handles, h)
	}
	c, rec := listen(t, ConntrackConfig{}, handles...)
	for range 5 {
		rec.settle(t)
	}
	for _, h := range handles[:30] {
		if err := c.Detach(h.ID()); err != nil {
			t.Error(err)
		}
	}
	rec.settle(t)
}
