package netfilter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

func TestTracePace(t *testing.T) {
	now := time.Now()
	p := tracePace{enough: 1000}
	var share, burst = 200, 100
	for i, step := range []struct {
		met    float64
		paused bool
		limit  traceLimit
	}{
		{999, false, traceLimit{200, 100}},
		{1000, true, traceLimit{}},
		{0, false, traceLimit{1000, 10}}, // nothing was met: nothing was asked
		{500, true, traceLimit{}},
		{0, false, traceLimit{1000, 10}},
		{499, false, traceLimit{200, 100}},
		{500, false, traceLimit{200, 100}},
	} {
		p.next(now, time.Second, step.met)
		if p.paused != step.paused || p.limit(share, burst) != step.limit {
			t.Errorf("step %d: %+v, %+v", i, p, p.limit(share, burst))
		}
		if least, most := now.Add(tracePauses*time.Second/2), now.Add(3*tracePauses*time.Second/2); p.paused && (p.due.Before(least) || p.due.After(most)) ||
			!p.paused && !p.due.Equal(now.Add(time.Second)) {
			t.Errorf("step %d: next in %v", i, p.due.Sub(now))
		}
		now = p.due
	}
	p = tracePace{paused: true, busy: true}
	if p.next(now, time.Second, 0); p.limit(1, 100) != (traceLimit{5, 1}) {
		t.Errorf("of a small share: %+v", p.limit(1, 100))
	}
}

func TestPauses(t *testing.T) {
	var p pauses
	if took, began := p.take(); took != 0 || began != 0 {
		t.Errorf("%v, %v before any", took, began)
	}
	before := now()
	for range 2 {
		p.set(true)
	}
	if took, began := p.take(); began < before || began > now() {
		t.Errorf("%v, began %v behind", took, began-before)
	}
	time.Sleep(pauseGrain)
	if took, began := p.take(); took < pauseGrain || began != 0 {
		t.Errorf("and %v, %v", took, began)
	}
	time.Sleep(time.Millisecond)
	p.set(false)
	if took, began := p.take(); took < time.Millisecond || began != 0 {
		t.Errorf("then %v, %v", took, began)
	}
	if took, began := p.take(); took != 0 || began != 0 {
		t.Errorf("%v, %v behind it", took, began)
	}
}

// fewAreMany makes a Tracer pause for what any machine can send.
func fewAreMany(tracer *Tracer) { tracer.pace.enough = 100 }

// sendOn sends datagrams to a port until what it returns is called: in bursts, so that
// they are many even where it seldom gets a processor.
func sendOn(t *testing.T, from *netns.Handle, to string) (stop func()) {
	t.Helper()
	var conn net.Conn
	if err := from.Do(func() (err error) {
		conn, err = net.Dial("udp", to)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			for range 20 {
				_, _ = conn.Write([]byte("x")) // nobody listens there
			}
			time.Sleep(time.Millisecond)
		}
	})
	return func() {
		cancel()
		group.Wait()
		_ = conn.Close()
	}
}

// asks reports whether a table of a Tracer is there, and asks for traces.
func asks(t *testing.T, ns *netns.Handle) (there, asks bool) {
	t.Helper()
	rules := run(t, ns, "nft list ruleset")
	return strings.Contains(rules, TraceTable), strings.Contains(rules, "nftrace set 1")
}

// TestTracerPausesWhereThereAreMany: under load the table is without rules and has
// them again, by turns; when the load ends it has them for good. Nothing of that is
// news of the rules, and what they count is told on.
func TestTracerPausesWhereThereAreMany(t *testing.T) {
	needs(t, "nft", "iptables-nft")
	r := newRouter(t)
	run(t, r.middle, "iptables-nft -A FORWARD -p udp --dport 7 -j DROP")
	rulesets, err := NewRulesets()
	if err != nil {
		t.Fatal(err)
	}
	tracer, err := NewTracer(TracerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fewAreMany(tracer)
	ctx, end := context.WithCancel(context.Background())
	news, counts, told := make(chan *Ruleset, 100), make(chan Counts, 100), make(chan HitBatch)
	var group sync.WaitGroup
	defer func() {
		end()
		group.Wait()
		if err := errors.Join(tracer.Close(), rulesets.Close()); err != nil {
			t.Error(err)
		}
	}()
	if err := errors.Join(rulesets.Attach(r.middle), tracer.Attach(r.middle)); err != nil {
		t.Fatal(err)
	}
	group.Go(func() {
		if err := rulesets.Run(ctx, news, counts); err != nil {
			t.Error(err)
		}
	})
	group.Go(func() {
		if err := tracer.Run(ctx, told); err != nil {
			t.Error(err)
		}
	})
	hang := time.After(60 * time.Second)
	select {
	case <-news:
	case <-hang:
		t.Fatal("no rules")
	}
	stop := sendOn(t, r.inside, outsideAddress+":7")
	var paused time.Duration
	pauses, windows, fresh := 0, 0, false // windows are those in which something was traced
	for pauses < 4 || windows < 4 {
		select {
		case b := <-told:
			paused += b.Paused
			if b.PausedAt != 0 {
				pauses++
				fresh = true
			}
			for i := range b.Hits {
				if b.Hits[i].Packet != nil && fresh {
					windows++
					fresh = false
				}
			}
		case <-hang:
			t.Fatalf("%d pauses, %d windows between", pauses, windows)
		}
	}
	stop()
	if paused < time.Duration(pauses-1)*tracePauses*traceWindow/2 {
		t.Errorf("%d pauses took %v", pauses, paused)
	}
	// It becomes quiet, and remains so for longer than any pause takes.
	for quiet := time.Duration(0); quiet < 2*tracePauses*traceWindow; {
		begin := time.Now()
		select {
		case b := <-told:
			if quiet += time.Since(begin); b.Paused > 0 {
				quiet = 0
			}
		case <-hang:
			t.Fatal("it does not end")
		}
	}
	if rules := run(t, r.middle, "nft list ruleset"); !strings.Contains(rules, "\tlimit rate 200/second burst 100 packets meta nftrace set 1") {
		t.Errorf("and then:\n%s", rules)
	}
	for len(news) > 0 {
		one := <-news
		t.Errorf("pauses are told as a change of the rules: %v", one.Rules())
	}
	first := true
	for len(counts) > 0 {
		if n := <-counts; n.Since == 0 && !first {
			t.Error("counters are not comparable over a pause")
		}
		first = false
	}
	if first {
		t.Error("no counters were read: this test sees too little")
	}
	run(t, r.middle, "nft add table ip other")
	for {
		select {
		case <-told:
			continue
		case <-news:
		case <-hang:
			t.Fatal("others' changes are not told any more")
		}
		break
	}
}

// TestTracerOfAQuietHost: it never pauses there, and each packet is traced, of ICMP
// more than has its own share.
func TestTracerOfAQuietHost(t *testing.T) {
	needs(t, "ping", "iptables")
	r := newRouter(t)
	run(t, r.middle, "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE")
	tr := startTrace(t, TracerConfig{}, r.middle)
	const pings = 60
	run(t, r.inside, fmt.Sprintf("ping -n -q -c %d -i 0.02 %s", pings, outsideAddress))
	tr.through()
	seen := map[uint8]map[uint16]int{}
	for _, h := range tr.hits {
		if h.Packet == nil || !strings.HasPrefix(h.Table, TraceTable) || h.Packet.Headers.Tuple.Protocol != packet.ICMP {
			continue
		}
		of := h.Packet.Headers.ICMPType
		if seen[of] == nil {
			seen[of] = map[uint16]int{}
		}
		seen[of][h.Packet.Headers.ICMPSeq]++
	}
	if len(seen) != 2 {
		t.Fatalf("want requests and replies: %v", seen)
	}
	for of, sequence := range seen {
		if len(sequence) != pings {
			t.Errorf("%d of %d traced of ICMP type %d", len(sequence), pings, of)
		}
		for number, n := range sequence {
			if n != 1 {
				t.Errorf("%d was traced %d times", number, n)
			}
		}
	}
	if tr.paused != 0 {
		t.Errorf("paused for %v", tr.paused)
	}
}

// TestICMPAndFirstPacketsHaveTheirShare: what many datagrams leave nothing of is
// traced all the same.
func TestICMPAndFirstPacketsHaveTheirShare(t *testing.T) {
	needs(t, "ping", "iptables")
	r := newRouter(t)
	run(t, r.outside, "iptables -t raw -A PREROUTING -p udp -j DROP") // an answer would be ICMP, too
	run(t, r.middle, "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE")
	tr := startTrace(t, TracerConfig{Rate: 8}, r.middle)
	stop := sendOn(t, r.inside, outsideAddress+":7")
	defer stop()
	udp := func() (n int) {
		tr.through()
		for _, h := range tr.hits {
			if h.Packet != nil && h.Packet.Headers.Tuple.Protocol == packet.UDP {
				n++
			}
		}
		return n
	}
	eventually(t, "datagrams have used up what there is", func() bool { return udp() >= 8 })
	run(t, r.inside, "ping -n -c 1 -w 20 "+outsideAddress)
	_ = command(r.inside, "bash", "-c", "echo >/dev/tcp/"+outsideAddress+"/7").Run() // refused
	tr.through()
	for _, protocol := range []packet.Protocol{packet.ICMP, packet.TCP} {
		found := false
		for _, h := range tr.hits {
			found = found || h.Packet != nil && h.Packet.Headers.Tuple.Protocol == protocol
		}
		if !found {
			t.Errorf("%v is not traced beside many datagrams", protocol)
		}
	}
}

// traceVariable makes this test's program a Tracer of the namespace it is in, which
// pauses for little. It ends when it is killed.
const traceVariable = "NATLENS_TEST_TRACE"

func traceBusily() error {
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	tracer, err := NewTracer(TracerConfig{})
	if err != nil {
		return err
	}
	fewAreMany(tracer)
	if err := tracer.Attach(ns); err != nil {
		return err
	}
	out := make(chan HitBatch)
	go func() {
		for range out { // a reader that keeps up
		}
	}()
	return tracer.Run(context.Background(), out)
}

// TestNothingIsLeftOfAKilledTracer kills it while it asks and while it pauses.
func TestNothingIsLeftOfAKilledTracer(t *testing.T) {
	needs(t, "nft")
	r := newRouter(t)
	stop := sendOn(t, r.inside, outsideAddress+":7")
	defer stop()
	for _, paused := range []bool{true, false} {
		c := command(r.middle, os.Args[0])
		c.Env = append(os.Environ(), traceVariable+"=1")
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("its table is there, pausing %v", paused), func() bool {
			there, asking := asks(t, r.middle)
			return there && asking != paused
		})
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		eventually(t, "its table is gone", func() bool {
			return run(t, r.middle, "nft list ruleset") == ""
		})
	}
}

// TestPausesLoseNoQueuedPacket: a packet that waits for a program's verdict waits on
// when a pause begins. It would not if a hook went: the kernel drops it then.
func TestPausesLoseNoQueuedPacket(t *testing.T) {
	needs(t, "iptables")
	r := newRouter(t)
	if b, err := command(r.middle, "iptables", "-A", "FORWARD", "-p", "udp", "--dport", "9", "-j", "NFQUEUE", "--queue-num", "3").CombinedOutput(); err != nil {
		t.Skipf("needs NFQUEUE: %s", b)
	}
	s, err := openSocket(r.middle, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	const subsystemQueue, config, bind, copyPackets = 3, 2, 1, 2 // nfnetlink_queue.h
	for _, attributes := range [][]byte{
		{8, 0, 1, 0, bind, 0, 0, 2},                     // NFQA_CFG_CMD: bind AF_INET
		{9, 0, 2, 0, 0, 0, 0, 64, copyPackets, 0, 0, 0}, // NFQA_CFG_PARAMS
	} {
		request := appendRequest(nil, subsystemQueue, config, 0, 1, 0, attributes)
		request[messageHeaderLength+3] = 3 // nfgenmsg.res_id: the queue
		if err := unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Fatal(err)
		}
	}
	tracer, err := NewTracer(TracerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := tracer.Attach(r.middle); err != nil {
		t.Fatal(err)
	}
	waiting := func() string {
		fields := strings.Fields(run(t, r.middle, "cat /proc/net/netfilter/nfnetlink_queue"))
		if len(fields) < 3 || fields[0] != "3" {
			t.Fatalf("queues: %v", fields)
		}
		return fields[2]
	}
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":9"), 1)
	eventually(t, "a packet waits", func() bool { return waiting() == "1" })
	for _, paused := range []bool{true, false, true} {
		tracer.pace.paused = paused
		if err := tracer.spread(); err != nil {
			t.Fatal(err)
		}
		if n := waiting(); n != "1" {
			t.Errorf("pausing %v: %s packets wait", paused, n)
		}
	}
}
