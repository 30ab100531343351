package live

import (
	"errors"
	"strings"
	"testing"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

func TestWarningsAreSaidOnce(t *testing.T) {
	var said []string
	w := warnings{say: func(s string) { said = append(said, s) }}
	host := (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{{ID: 1, Name: "host"}}}).Seal()
	expect := func(words ...string) {
		t.Helper()
		if len(said) != len(words) {
			t.Fatalf("said %q, want sentences with %q", said, words)
		}
		for i := range words {
			if !strings.Contains(said[i], words[i]) {
				t.Errorf("said %q, want %q in it", said[i], words[i])
			}
		}
		said = nil
	}

	full := &netfilter.Batch{Namespace: 1, Synced: true, Entries: 262_000, MaxEntries: 262_144}
	roomy := &netfilter.Batch{Namespace: 1, Synced: true, Entries: 100, MaxEntries: 262_144}
	w.flows(roomy, host)
	w.flows(&netfilter.Batch{Namespace: 1, Entries: 5}, host) // says nothing of the table
	expect()
	w.flows(full, host)
	w.flows(full, host)
	expect("conntrack table of host is full or nearly, 262000 of 262144")
	w.flows(roomy, host)
	w.flows(full, host)
	expect("full")

	w.flows(&netfilter.Batch{Namespace: 1, DumpError: errors.New("no")}, host)
	w.flows(&netfilter.Batch{Namespace: 1, DumpError: errors.New("no")}, host)
	expect("flows of host that are older than the watch are unknown: no")

	w.rules(&netfilter.Ruleset{Namespace: 1, Unreadable: errors.New("busy")}, host)
	w.rules(&netfilter.Ruleset{Namespace: 1}, host)
	expect("not said in host: busy")

	refusing := &netfilter.Batch{Namespace: 1, Failures: &netfilter.Failures{Dropped: 7, Entries: 65536, MaxEntries: 65536}}
	for _, clash := range []struct {
		more uint64
		want []string
	}{
		{0, nil}, {7, []string{"connection tracking of host resolved clashes, 7 so far"}}, {2, nil}, {1, []string{"resolved clashes, 10 so far"}},
		{0, nil}, {80, nil}, {1000, []string{"resolved clashes, 1090 so far"}},
	} {
		w.flows(&netfilter.Batch{Namespace: 1, Failures: &netfilter.Failures{EarlyDropped: 1, Resolved: clash.more}}, host)
		expect(clash.want...)
	}
	w.flows(refusing, host)
	w.flows(refusing, host)
	expect("connection tracking of host drops packets, 7 of late: its table is full, 65536 of 65536")

	w.hits(&netfilter.HitBatch{Through: 1})
	expect()
	w.hits(&netfilter.HitBatch{Through: 1, PausedAt: 2})
	w.hits(&netfilter.HitBatch{Through: 3, Paused: 4, PausedAt: 4})
	expect("traced in a fifth of the time only")

	silent := (&netinfo.Topology{Self: 1, Notes: []netinfo.Note{{About: "engine", Text: "answers slowly"}}}).Seal()
	w.topology(host, silent)
	w.topology(silent, silent)
	expect("engine: answers slowly")
	if len(w.full) != 0 {
		t.Error("a namespace that is gone is remembered")
	}

	w.clock(time.Hour)
	expect("set by 1h0m0s")
}
