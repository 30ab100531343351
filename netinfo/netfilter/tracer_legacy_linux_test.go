package netfilter

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/netns"
)

// restorerVariable makes this test's program a watchdog.
const restorerVariable = "NATLENS_TEST_RESTORER"

// TestMain is also what a Tracer starts to put settings back, what a benchmark starts
// to send, and a Tracer that is killed.
func TestMain(m *testing.M) {
	var err error
	switch to := os.Getenv(sendVariable); {
	case to != "":
		err = sendBusily(to, os.Stdin, os.Stdout)
	case os.Getenv(traceVariable) != "":
		err = traceBusily()
	case os.Getenv(restorerVariable) != "":
		err = RestoreLoggers(os.Stdin)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func loggersOf(t *testing.T, ns *netns.Handle) string {
	t.Helper()
	return run(t, ns, "cat /proc/sys/net/netfilter/nf_log/2 /proc/sys/net/netfilter/nf_log/10")
}

// TestTracerOfLegacyRules: what iptables-legacy's rules log of a packet that we
// asked for tells which of them it met; the setting that makes them is put back.
func TestTracerOfLegacyRules(t *testing.T) {
	needs(t, "iptables-legacy")
	r := newRouter(t)
	for _, line := range []string{"-N USER", "-A FORWARD -j USER", "-A USER -p tcp -j ACCEPT", "-A USER -p udp --dport 7 -j DROP", "-P INPUT DROP"} {
		run(t, r.middle, "iptables-legacy "+line)
	}
	before := loggersOf(t, r.middle)
	t.Setenv(restorerVariable, "1")
	tracer, err := NewTracer(TracerConfig{Restorer: []string{"/proc/self/exe"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Attach(r.middle); err != nil {
		t.Fatal(err)
	}
	if now := loggersOf(t, r.middle); now != "nfnetlink_log\nnfnetlink_log\n" {
		t.Errorf("loggers are %q", now)
	}
	changed := tracer.Loggers(r.middle.ID())
	if was := strings.Fields(before); len(changed.Left) > 0 ||
		!slices.Equal(changed.Changed, []string{"net.netfilter.nf_log.2=" + was[0], "net.netfilter.nf_log.10=" + was[1]}) {
		t.Errorf("%+v, were %q", changed, was)
	}
	if left := leftLoggers(t, r.middle); len(left) > 0 {
		t.Errorf("somebody listens, and %q are said to be left", left)
	}
	rules, err := ReadRuleset(r.middle)
	if err != nil {
		t.Fatal(err)
	}
	// What is sent in a pause is not logged; what is sent behind it is.
	for _, paused := range []bool{true, false} {
		tracer.pace.paused, tracer.pace.due = paused, time.Now().Add(time.Hour)
		if err := tracer.spread(); err != nil {
			t.Fatal(err)
		}
		if paused {
			flood(t, r.inside, netip.MustParseAddrPort("10.9.0.1:8"), 1)
		}
	}
	flood(t, r.inside, netip.MustParseAddrPort(outsideAddress+":7"), 1)
	flood(t, r.inside, netip.MustParseAddrPort("10.9.0.1:9"), 1)
	batches, err := tracer.turn()
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, b := range batches {
		if b.Malformed+b.Lost > 0 {
			t.Errorf("%+v", b)
		}
		for i := range b.Hits {
			h := &b.Hits[i]
			if h.Trace != 0 || h.Packet.Headers.Tuple.DestinationPort > 9 {
				continue // ours
			}
			at := rules.Locate(h)
			told = append(told, strings.TrimSpace(string(h.Packet.Hook)+" "+h.Chain+" "+string(h.Kind)+" "+at.Rule.Text+" "+string(at.Verdict)+" "+at.Target))
			if h.Packet.Headers.Tuple.Source() != netip.MustParseAddr(insideAddress) {
				t.Errorf("headers %+v", h.Packet.Headers)
			}
		}
	}
	want := []string{
		"forward FORWARD rule -A FORWARD -j USER jump USER",
		"forward USER rule -A USER -p udp -m udp --dport 7 -j DROP drop",
		"input INPUT policy  drop",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
	if after := loggersOf(t, r.middle); after != before {
		t.Errorf("loggers were %q, are %q", before, after)
	}
}

func leftLoggers(t *testing.T, ns *netns.Handle) (left []string) {
	t.Helper()
	if err := ns.Do(func() error { left = LeftLoggers(); return nil }); err != nil {
		t.Fatal(err)
	}
	return left
}

// TestLoggersLeft: who is killed together with the watchdog leaves the settings as
// they are while rules are traced. The next Tracer finds that, changes nothing, and
// says so no more when they are put back as it was said.
func TestLoggersLeft(t *testing.T) {
	needs(t, "iptables-legacy", "sysctl")
	r := newRouter(t)
	run(t, r.middle, "iptables-legacy -A FORWARD -j ACCEPT")
	t.Setenv(restorerVariable, "1")
	attached := func() Loggers {
		t.Helper()
		tracer, err := NewTracer(TracerConfig{Restorer: []string{"/proc/self/exe"}})
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
		return tracer.Loggers(r.middle.ID())
	}
	before := attached().Changed
	for _, setting := range []string{"2", "10"} {
		run(t, r.middle, "sysctl -w net.netfilter.nf_log."+setting+"=nfnetlink_log")
	}
	both := []string{"net.netfilter.nf_log.2", "net.netfilter.nf_log.10"}
	if left := leftLoggers(t, r.middle); !slices.Equal(left, both) {
		t.Errorf("left are %q, want %q", left, both)
	}
	if l := attached(); !slices.Equal(l.Left, both) || len(l.Changed) > 0 {
		t.Errorf("the next one finds %+v, want %q left", l, both)
	}
	for _, setting := range before {
		run(t, r.middle, "sysctl -w "+setting)
	}
	if left, l := leftLoggers(t, r.middle), attached(); len(left)+len(l.Left) > 0 || !slices.Equal(l.Changed, before) {
		t.Errorf("put back: %q left, %+v; want %q changed", left, l, before)
	}
}

func TestDecodeLegacyTrace(t *testing.T) {
	prefix := func(text string) string { return text + " \x00" }
	for text, want := range map[string]Hit{
		"TRACE: raw:PREROUTING:rule:1":  {Kind: RuleHit, Table: "raw", Chain: "PREROUTING", Position: 1},
		"TRACE: filter:a:b:return:3":    {Kind: ReturnHit, Table: "filter", Chain: "a:b", Verdict: Return},
		"TRACE: filter:INPUT:policy:12": {Kind: PolicyHit, Table: "filter", Chain: "INPUT"},
		"TRACE: filter:INPUT:other:12":  {},
		"TRACE: filter:rule:12":         {},
		"TRACE: filter":                 {},
		"TRACE: filter:INPUT:rule:x":    {},
		"mine: filter:INPUT:rule:1":     {},
		"TRACE: filter:INPUT:rule:-1":   {},
	} {
		var got Hit
		ok := legacyPrefix([]byte(prefix(text)), names{}, &got)
		if ok != (want.Table != "") || ok && got != want {
			t.Errorf("%q: %v %+v", text, ok, got)
		}
	}
}

// legacyTrace is what a rule in INPUT logs of an echo request, as Linux 6.18 told
// it, its payload cut.
const legacyTrace = `
	02 00 0000                                # AF_INET, version 0, group 0
	0800 0100 0800 01 00                      # NFULA_PACKET_HDR: IPv4, hook input
	2000 0a00 54524143453a2066696c7465723a494e5055543a72756c653a312000 # NFULA_PREFIX: "TRACE: filter:INPUT:rule:1 "
	0800 0400 00000002                        # NFULA_IFINDEX_INDEV
	2000 0900 4500001c82c10000 40010000 0a090001 0a090002 0800 0000 55fd 0001 # NFULA_PAYLOAD
`

func TestDecodeLegacyMessage(t *testing.T) {
	var h Hit
	traced, ok := decodeLegacyTrace(bytesOf(t, legacyTrace), names{}, &h)
	if !ok || !traced || h.Family != "ip" || h.Table != "filter" || h.Position != 1 || h.Packet.Hook != Input || h.Packet.In != 2 {
		t.Fatalf("%v %v %+v", traced, ok, h)
	}
	if p := h.Packet.Headers; p.IPID != 0x82c1 || p.ICMPID != 0x55fd || p.ICMPSeq != 1 {
		t.Errorf("%+v", p)
	}
}

func FuzzDecodeLegacyTrace(f *testing.F) {
	f.Add(bytesOf(f, legacyTrace))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hit
		if traced, ok := decodeLegacyTrace(b, names{}, &h); traced && (!ok || h.Packet == nil || h.Table == "") {
			t.Errorf("%+v", h)
		}
	})
}
