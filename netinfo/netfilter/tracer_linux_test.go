package netfilter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

// traceOf runs a Tracer in a namespace and collects what it tells.
type traceOf struct {
	t      *testing.T
	tracer *Tracer
	hits   []Hit
	lost   uint64
	paused time.Duration
	more   chan HitBatch
}

func startTrace(t *testing.T, c TracerConfig, ns *netns.Handle) *traceOf {
	t.Helper()
	tracer, err := NewTracer(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Attach(ns); err != nil {
		t.Fatal(errors.Join(err, tracer.Close()))
	}
	ctx, stop := context.WithCancel(context.Background())
	tr := &traceOf{t: t, tracer: tracer, more: make(chan HitBatch)}
	ended := make(chan error, 1)
	go func() { ended <- tracer.Run(ctx, tr.more) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, tracer.Close()); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// through takes what is told until all before now was.
func (tr *traceOf) through() {
	tr.t.Helper()
	now, limit := time.Now().UnixNano(), time.After(20*time.Second)
	for {
		select {
		case b := <-tr.more:
			tr.hits = append(tr.hits, b.Hits...)
			tr.lost += b.Lost + b.Overruns + b.Malformed
			tr.paused += b.Paused
			if b.Namespace == 0 && b.Through > now {
				return
			}
		case <-limit:
			tr.t.Fatal("the tracer says nothing")
		}
	}
}

// monitor is nft(8) listening to the same trace: its lines, as they come.
func monitor(t *testing.T, ns *netns.Handle) <-chan string {
	t.Helper()
	c := command(ns, "stdbuf", "-oL", "nft", "-nn", "monitor", "trace")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 4096)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		for range lines { // until its output is read
		}
		_ = c.Wait()
	})
	return lines
}

// traceLine is how nft tells of a hit: "trace id 077f1b8e ip filter FORWARD rule
// ip saddr … jump USER (verdict jump USER)".
var traceLine = regexp.MustCompile(`^trace id ([0-9a-f]+) (\S+) (\S+) (\S+) (rule|policy|unknown|return)\b(?:.*\(verdict ([a-z]+)(?: (\S+))?\)| (accept|drop))?`)

// asNFT writes hits as far as nft's lines tell them: it passes over what has no
// rule.
func asNFT(hits []Hit) (lines []string) {
	for _, h := range hits {
		if h.Kind != ReturnHit {
			lines = append(lines, strings.TrimSpace(fmt.Sprintf("%08x %s %s %s %s %s %s", h.Trace, h.Family, h.Table, h.Chain, h.Kind, h.Verdict, h.Target)))
		}
	}
	return lines
}

// TestTracerAgreesWithNFT lets packets be forwarded, translated, dropped and
// refused, and compares with what nft monitor prints.
func TestTracerAgreesWithNFT(t *testing.T) {
	needs(t, "iptables", "nft", "ping", "stdbuf")
	r := newRouter(t)
	for _, line := range []string{
		"iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -o eth0 -j MASQUERADE",
		"iptables -N USER",
		"iptables -A FORWARD -j USER",
		"iptables -A USER -p udp --dport 7 -j DROP",
		"iptables -A USER -p icmp -j RETURN",
		"iptables -A OUTPUT -p udp --dport 8 -j REJECT",
		"iptables -A OUTPUT -p udp --dport 9",
		"iptables -P INPUT DROP",
	} {
		run(t, r.middle, line)
	}
	tr := startTrace(t, TracerConfig{Protocols: []packet.Protocol{packet.ICMP, packet.UDP}}, r.middle)
	lines := monitor(t, r.middle)
	eventually(t, "nft listens", func() bool {
		flood(t, r.middle, netip.MustParseAddrPort("127.0.0.1:10"), 1)
		return len(lines) > 0
	})
	run(t, r.inside, "ping -n -c 2 -i 0.2 "+outsideAddress)
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":7"), 2)
	flood(t, r.inside, netip.MustParseAddrPort("10.9.0.1:11"), 1)
	_ = command(r.middle, "bash", "-c", "echo >/dev/udp/"+outsideAddress+"/8").Run()
	run(t, r.middle, "bash -c echo>/dev/udp/127.0.0.1/9")
	tr.through()
	if tr.lost > 0 {
		t.Errorf("%d lost or malformed", tr.lost)
	}
	var theirs []string
	for last := false; !last; {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("nft monitor ended")
			}
			last = strings.Contains(line, "rule udp dport 9 ")
			if m := traceLine.FindStringSubmatch(line); m != nil {
				theirs = append(theirs, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s %s %s", m[1], m[2], m[3], m[4], m[5], m[6]+m[8], m[7])))
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nft monitor said, and not the last:\n%s", strings.Join(theirs, "\n"))
		}
	}
	ours := asNFT(tr.hits)
	// We listened before nft did, and read on behind its last line.
	begin := slices.Index(ours, theirs[0])
	if begin < 0 || len(theirs) < 30 {
		t.Fatalf("nft's %d lines begin with %s, which is none of ours", len(theirs), theirs[0])
	}
	for begin+len(theirs) <= len(ours) && !slices.Equal(ours[begin:begin+len(theirs)], theirs) {
		next := slices.Index(ours[begin+1:], theirs[0]) // trace ids come again
		if next < 0 {
			break
		}
		begin += 1 + next
	}
	if diff := cmp.Diff(theirs, ours[begin:min(begin+len(theirs), len(ours))]); diff != "" {
		t.Errorf("(-nft +ours):\n%s", diff)
	}
	for _, want := range []string{" filter FORWARD rule jump USER", " filter USER rule drop", " nat POSTROUTING rule accept", " filter INPUT policy drop"} {
		if !slices.ContainsFunc(theirs, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("nft never said%s: this test sees too little", want)
		}
	}
}

// TestTracerKnowsTheFlow compares the conntrack ids in the trace with conntrack(8).
func TestTracerKnowsTheFlow(t *testing.T) {
	needs(t, "iptables", "ping", "conntrack")
	r := newRouter(t)
	run(t, r.middle, "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE")
	run(t, r.middle, "iptables -A FORWARD -p icmp")
	tr := startTrace(t, TracerConfig{}, r.middle)
	run(t, r.inside, "ping -n -c 1 "+outsideAddress)
	tr.through()
	table := run(t, r.middle, "conntrack -L -p icmp -o id")
	seen := map[bool]bool{}
	for _, h := range tr.hits {
		if h.Packet == nil || h.Chain != "FORWARD" {
			continue
		}
		if !h.Packet.Tracked {
			t.Skip("needs Linux 6.18: this kernel's trace has no conntrack ids")
		}
		if !strings.Contains(table, fmt.Sprintf("id=%d", h.Packet.FlowID)) {
			t.Errorf("id %d is not in\n%s", h.Packet.FlowID, table)
		}
		if fromInside := h.Packet.Headers.ICMPType == 8; fromInside == h.Packet.Reply {
			t.Errorf("%v: reply is %v", h.Packet.Headers.Tuple, h.Packet.Reply)
		}
		seen[h.Packet.Reply] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d directions in %+v", len(seen), tr.hits)
	}
}

// TestTracerKnowsTemplates: where a rule chooses a zone, the packet has an entry
// before the lookup that is none (a template), and its own behind it.
func TestTracerKnowsTemplates(t *testing.T) {
	needs(t, "iptables", "ping", "conntrack")
	r := newRouter(t)
	run(t, r.middle, "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE")
	run(t, r.middle, "iptables -t raw -A PREROUTING -j CT --zone 5")
	run(t, r.middle, "iptables -t raw -A PREROUTING -p icmp")
	run(t, r.middle, "iptables -t mangle -A PREROUTING -p icmp")
	// The end of raw's chain is the first that a second table there tells of.
	run(t, r.middle, "nft add table ip late")
	run(t, r.middle, "nft add chain ip late pre { type filter hook prerouting priority -250; }")
	tr := startTrace(t, TracerConfig{}, r.middle)
	run(t, r.inside, "ping -n -c 1 "+outsideAddress)
	tr.through()
	table := run(t, r.middle, "conntrack -L -p icmp -w 5 -o id")
	tracked := 0
	for _, h := range tr.hits {
		if h.Packet == nil || !h.Packet.Tracked {
			continue
		}
		tracked++
		if !strings.Contains(table, fmt.Sprintf("id=%d", h.Packet.FlowID)) {
			t.Errorf("%s %s: id %d, status %x is not in\n%s", h.Table, h.Chain, h.Packet.FlowID, h.Packet.Status, table)
		}
	}
	if tracked == 0 {
		t.Skip("needs Linux 6.18: this kernel's trace has no conntrack ids")
	}
}

// TestTracerLimitsItself: a flood is traced as far as the rate allows.
func TestTracerLimitsItself(t *testing.T) {
	needs(t, "nft")
	r := newRouter(t)
	tr := startTrace(t, TracerConfig{Rate: 10, Protocols: []packet.Protocol{packet.UDP}}, r.middle)
	begin := time.Now()
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":7"), 2000)
	tr.through()
	n := 0
	for _, h := range tr.hits {
		if h.Packet != nil && h.Packet.Headers.Tuple.Protocol == packet.UDP {
			n++
		}
	}
	if most := 10 + 10*int(time.Since(begin).Seconds()+1); n < 10 || n > most {
		t.Errorf("%d packets traced, want 10 and 10 a second, at most %d", n, most)
	}
}

// TestTracerSharesItsRate: however many namespaces there are, they trace no more
// together.
func TestTracerSharesItsRate(t *testing.T) {
	needs(t, "nft")
	tracer, err := NewTracer(TracerConfig{Rate: 80, Protocols: []packet.Protocol{packet.TCP, packet.UDP}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	}()
	var spaces []*netns.Handle
	rates := func() (all []string) {
		for _, ns := range spaces {
			rules := run(t, ns, "nft list ruleset")
			found := limitOf.FindAllStringSubmatch(rules, -1)
			if len(found) != 4 || strings.Count(rules, "table ") != 1 {
				t.Fatalf("want a rule for each of two protocols at two hooks:\n%s", rules)
			}
			for _, m := range found[1:] {
				if m[1] != found[0][1] {
					t.Errorf("rates differ:\n%s", rules)
				}
			}
			all = append(all, found[0][1])
		}
		return all
	}
	for _, want := range []string{"40/second burst 80", "20/second burst 80", "10/second burst 80", "10/second burst 80", "5/second burst 80"} {
		ns := newNamespace(t)
		if err := tracer.Attach(ns); err != nil {
			t.Fatal(err)
		}
		spaces = append(spaces, ns)
		for _, rate := range rates() {
			if rate != want {
				t.Errorf("%d namespaces: %s, want %s", len(spaces), rate, want)
			}
		}
	}
	last := spaces[4]
	spaces = spaces[:4]
	if err := tracer.Detach(last.ID()); err != nil {
		t.Fatal(err)
	}
	if got := rates(); got[0] != "10/second burst 80" {
		t.Errorf("after one has gone: %q", got)
	}
}

var limitOf = regexp.MustCompile(`meta l4proto \S+ limit rate (\d+/second burst \d+) packets`)

// TestTracerAsksForItsProtocolsOnly: no packet of another protocol is traced, as
// nft(8) hears it, too.
func TestTracerAsksForItsProtocolsOnly(t *testing.T) {
	needs(t, "nft", "ping", "iptables", "stdbuf")
	r := newRouter(t)
	run(t, r.middle, "iptables -t nat -A POSTROUTING -s 10.9.0.0/24 -j MASQUERADE")
	run(t, r.middle, "iptables -A OUTPUT -p udp --dport 9")
	tr := startTrace(t, TracerConfig{Protocols: []packet.Protocol{packet.UDP}}, r.middle)
	lines := monitor(t, r.middle)
	eventually(t, "nft listens", func() bool {
		flood(t, r.middle, netip.MustParseAddrPort("127.0.0.1:10"), 1)
		return len(lines) > 0
	})
	run(t, r.inside, "ping -n -c 3 -i 0.2 "+outsideAddress)
	run(t, r.middle, "ping -n -c 3 -i 0.2 "+outsideAddress)
	_ = command(r.inside, "bash", "-c", "echo >/dev/tcp/"+outsideAddress+"/7").Run() // refused
	run(t, r.middle, "bash -c echo>/dev/udp/127.0.0.1/9")
	tr.through()
	for _, h := range tr.hits {
		if h.Packet != nil && h.Packet.Headers.Tuple.Protocol != packet.UDP {
			t.Errorf("%v is traced", h.Packet.Headers.Tuple)
		}
	}
	packets := 0
	for last := false; !last; {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("nft monitor ended")
			}
			last = strings.Contains(line, "rule udp dport 9 ")
			if !strings.Contains(line, " packet: ") {
				continue
			}
			packets++
			if !strings.Contains(line, " udp dport ") {
				t.Errorf("nft says: %s", line)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nft monitor says nothing of the last packet")
		}
	}
	if packets == 0 {
		t.Error("nft heard of no packet")
	}
}

// TestTracerWritesOneTable compares all rules before, meanwhile and after. Nobody
// else can touch the table, and a flush leaves it alone.
func TestTracerWritesOneTable(t *testing.T) {
	needs(t, "nft", "iptables")
	r := newRouter(t)
	run(t, r.middle, "iptables -A FORWARD -p icmp -j ACCEPT")
	rules := func() string { return run(t, r.middle, "nft -s list ruleset") }
	before := rules()
	tracer, err := NewTracer(TracerConfig{Protocols: []packet.Protocol{packet.TCP}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 { // the second does nothing
		if err := tracer.Attach(r.middle); err != nil {
			t.Fatal(err)
		}
	}
	meanwhile := rules()
	added, ok := strings.CutPrefix(meanwhile, before)
	if !ok || strings.Count(added, "table ") != 1 || !strings.Contains(added, "flags owner") ||
		!strings.Contains(added, "meta l4proto 6 limit rate") && !strings.Contains(added, "meta l4proto tcp limit rate") {
		t.Errorf("before:\n%s\nmeanwhile:\n%s", before, meanwhile)
	}
	name := strings.Fields(added)[2]
	if b, err := command(r.middle, "nft", "delete", "table", "inet", name).CombinedOutput(); err == nil {
		t.Errorf("%s was deleted by another: %s", name, b)
	}
	run(t, r.middle, "nft flush ruleset")
	if !strings.Contains(rules(), name) {
		t.Error("nft flush ruleset took it away")
	}
	if err := tracer.Detach(r.middle.ID()); err != nil {
		t.Error(err)
	}
	if now := rules(); now != "" {
		t.Errorf("after:\n%s", now)
	}
}
