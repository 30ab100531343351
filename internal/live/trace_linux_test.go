package live

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/lab"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// TestTracingWritesOneTable: with a trace, the rules differ by one table in each
// namespace that is watched, meanwhile, and by nothing before and after.
func TestTracingWritesOneTable(t *testing.T) {
	needPrograms(t, "nft", "ip")
	h := dockerHost(t)
	namespaces := map[string]*netns.Handle{"host": h.Namespace(), "back": h.Find("back").Namespace(), "internet": h.Internet()}
	all := func() map[string]map[string]string {
		found := map[string]map[string]string{}
		for name, ns := range namespaces {
			found[name] = settings(t, ns)
		}
		return found
	}
	before := all()
	w := startWatch(t, Config{Trace: true})
	meanwhile := all()
	for name := range namespaces {
		const rules = "nft -j list ruleset"
		want := 1
		if name == "internet" {
			want = 0 // not watched
		}
		if n := strings.Count(meanwhile[name][rules], `"table": {"family": "inet", "name": "`+netfilter.TraceTable); n != want {
			t.Errorf("%s: %d tables of ours, want %d", name, n, want)
		}
		meanwhile[name][rules] = before[name][rules]
	}
	if diff := cmp.Diff(before, meanwhile); diff != "" {
		t.Errorf("tracing changes (-before +meanwhile):\n%s", diff)
	}
	w.end()
	if diff := cmp.Diff(before, all()); diff != "" {
		t.Errorf("tracing changed (-before +after):\n%s", diff)
	}
}

// TestTracedPing: a ping through the masquerade names the rule by its trace.
func TestTracedPing(t *testing.T) {
	h := dockerHost(t)
	w := startWatch(t, Config{Trace: true})
	if _, err := lab.Ping(t.Context(), h.Find("back").Namespace(), lab.ServerAddress, lab.Echo{ID: 11, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	j := w.journey("the request", func(j *trace.Journey) bool { return len(j.Translations) > 0 && !j.Translations[0].Undo })
	if r := j.Translations[0].Rule; r == nil || r.Evidence != trace.ByTrace || j.Translations[0].Kind != trace.Masquerade {
		t.Errorf("%+v by %+v", j.Translations[0], r)
	}
	if len(j.Rules) == 0 || j.Rules[len(j.Rules)-1].Met == nil || j.Rules[len(j.Rules)-1].Met.Between != j.Translations[0].Between {
		t.Errorf("rules %+v", j.Rules)
	}
	if n := w.end(); n.Traced == 0 || n.TraceLost != 0 {
		t.Errorf("%+v", n.Counters)
	}
}
