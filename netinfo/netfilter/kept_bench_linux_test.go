package netfilter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

const (
	// keptWindow is how long traffic is counted at a time: two readings of counters,
	// and two of a Tracer's pauses, in the mean.
	keptWindow = 2 * time.Second
	// keptBefore is how long there is traffic before it is counted: a Tracer knows
	// by then how much comes, and neighbours are known.
	keptBefore = 600 * time.Millisecond
)

// BenchmarkKept is how much traffic a busy host keeps, in hundredths: as many
// senders as there are processors forward as fast as they can, so that whatever
// else takes time takes it from them. What is compared is packets for each second
// of processor time that all of this took, so that other programs of the machine
// don't matter. Each iteration counts once with and once without, one right after
// the other, in changing order. Reported are the median of all iterations and the
// quartiles.
//
// The time of soft interrupts, in which packets are forwarded, is this program's
// where the kernel does not account for it apart (CONFIG_IRQ_TIME_ACCOUNTING).
//
//	nothing   the same twice: what the measure itself is worth
//	counted   a Rulesets that reads the counters
//	traced    a Tracer with its default rate
//	among     the same with twenty other namespaces, which are quiet
//	asked     a Tracer of ICMP alone, of which there is none: it never pauses
//	both      what "watch --trace" does with rules
//	all       a Tracer without a limit: what the limit is for
func BenchmarkKept(b *testing.B) {
	var others []*netns.Handle
	for range 20 {
		others = append(others, newNamespace(b))
	}
	traced := func(b *testing.B, ns *netns.Handle) func() { return traceWhile(b, TracerConfig{}, ns) }
	for _, c := range []struct {
		name string
		with func(*testing.B, *netns.Handle) func()
	}{
		{"nothing", func(*testing.B, *netns.Handle) func() { return func() {} }},
		{"counted", countWhile},
		{"traced", traced},
		{"among", func(b *testing.B, ns *netns.Handle) func() {
			return traceWhile(b, TracerConfig{}, append(slices.Clone(others), ns)...)
		}},
		{"asked", func(b *testing.B, ns *netns.Handle) func() {
			return traceWhile(b, TracerConfig{Protocols: []packet.Protocol{packet.ICMP}}, ns)
		}},
		{"both", func(b *testing.B, ns *netns.Handle) func() {
			first, second := countWhile(b, ns), traced(b, ns)
			return func() { second(); first() }
		}},
		{"all", func(b *testing.B, ns *netns.Handle) func() { return traceWhile(b, TracerConfig{Rate: 1 << 24}, ns) }},
	} {
		b.Run(c.name, func(b *testing.B) { kept(b, c.with) })
	}
}

func kept(b *testing.B, with func(*testing.B, *netns.Handle) func()) {
	r := newBusyHost(b)
	var senders []*busySender
	for i := range runtime.NumCPU() {
		senders = append(senders, newBusySender(b, r, uint16(9000+i)))
	}
	count := func(with func(*testing.B, *netns.Handle) func()) float64 {
		stop := with(b, r.middle)
		defer stop()
		traffic(b, senders, keptBefore)
		before := processorTime(b)
		packets, spent := traffic(b, senders, keptWindow)
		return float64(packets) / float64(spent+processorTime(b)-before)
	}
	without := func(*testing.B, *netns.Handle) func() { return func() {} }
	var ratios []float64
	for b.Loop() {
		var plain, other float64
		if len(ratios)%2 == 0 {
			plain, other = count(without), count(with)
		} else {
			other, plain = count(with), count(without)
		}
		ratios = append(ratios, 100*other/plain)
	}
	slices.Sort(ratios)
	for part, unit := range []string{"%low", "%kept", "%high"} {
		b.ReportMetric(ratios[(len(ratios)-1)*(part+1)/4], unit)
	}
}

// busySender is another process that sends when it is told to: what the runtime of
// this program does for a Tracer must not be a sender's.
type busySender struct {
	orders  io.Writer
	answers *bufio.Scanner
}

// sendVariable makes this test's program a busySender: it names where to.
const sendVariable = "NATLENS_TEST_SEND"

func newBusySender(b *testing.B, r *router, port uint16) *busySender {
	b.Helper()
	cmd := command(r.inside, os.Args[0])
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", fmt.Sprintf("%s=%s:%d", sendVariable, outsideAddress, port))
	cmd.Stderr = os.Stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(orders.Close(), cmd.Wait()); err != nil {
			b.Error(err)
		}
	})
	return &busySender{orders, bufio.NewScanner(answers)}
}

// sendBusily obeys orders, which are durations, and answers each with the packets
// sent and the nanoseconds of processor time that they took.
func sendBusily(to string, orders io.Reader, answers io.Writer) error {
	conn, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	packet := make([]byte, 64)
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		d, err := time.ParseDuration(lines.Text())
		if err != nil {
			return err
		}
		before, err := usedTime()
		if err != nil {
			return err
		}
		n := 0
		for end := time.Now().Add(d); n%16 > 0 || time.Now().Before(end); n++ {
			if _, err := conn.Write(packet); err != nil {
				return err
			}
		}
		after, err := usedTime()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(answers, n, int64(after-before)); err != nil {
			return err
		}
	}
	return nil
}

// usedTime is what this process has taken of all processors.
func usedTime() (time.Duration, error) {
	var u unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	d, err := usedTime()
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// traffic has all senders send for so long, and returns how many packets they sent
// and the processor time they took.
func traffic(b *testing.B, senders []*busySender, d time.Duration) (packets int, spent time.Duration) {
	b.Helper()
	for _, s := range senders {
		if _, err := fmt.Fprintln(s.orders, d); err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range senders {
		var n int
		var ns int64
		if !s.answers.Scan() {
			b.Fatal("a sender has ended")
		}
		if _, err := fmt.Sscan(s.answers.Text(), &n, &ns); err != nil {
			b.Fatal(err)
		}
		packets, spent = packets+n, spent+time.Duration(ns)
	}
	return packets, spent
}

// countWhile reads counters until what it returns is called. It returns half an
// interval after a reading, so that the next one is in the middle of a window.
func countWhile(b *testing.B, ns *netns.Handle) (stop func()) {
	b.Helper()
	rules, err := NewRulesets()
	if err != nil {
		b.Fatal(err)
	}
	if err := rules.Attach(ns); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	out, counts, first := make(chan *Ruleset, 16), make(chan Counts), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(counts)
		if err := rules.Run(ctx, out, counts); err != nil {
			b.Error(err)
		}
	})
	group.Go(func() {
		for n := range counts {
			if n.Since == 0 {
				close(first)
			}
		}
	})
	<-first
	time.Sleep(countInterval / 2)
	return func() {
		cancel()
		group.Wait()
		if err := rules.Close(); err != nil {
			b.Error(err)
		}
	}
}
