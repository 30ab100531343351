package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
	"natlens/internal/view/jsonl/jsonltest"
)

// finish runs a program to its end.
func finish(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, status int) {
	t.Helper()
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), words.String(), cmd.ProcessState.ExitCode()
}

// tell runs natlens on the engine's host; it must succeed.
func tell(t *testing.T, e *engine.Engine, args ...string) string {
	t.Helper()
	out, words, status := finish(t, e.Command(natlens, args...))
	if status != 0 {
		t.Fatalf("natlens %s: status %d\n%s", strings.Join(args, " "), status, words)
	}
	return out
}

// list is natlens list --json, held against the schema.
func list(t *testing.T, e *engine.Engine) *listing {
	t.Helper()
	line := []byte(tell(t, e, "list", "--json"))
	jsonltest.Validate(t, line)
	var l listing
	decode(t, line, &l)
	return &l
}

// with returns those that ok picks.
func with(all []journey, ok func(*journey) bool) []*journey {
	var found []*journey
	for i := range all {
		if ok(&all[i]) {
			found = append(found, &all[i])
		}
	}
	return found
}

// echoes returns the journeys of the pings with this id; kind 8 asks, 0 answers.
func echoes(all []journey, kind, id int) []*journey {
	return with(all, func(j *journey) bool {
		return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == kind && j.Hops[0].ICMP.ID == id
	})
}

// segments returns the journeys of a TCP connection: those that the port, at the
// client's end, began or got, with these flags.
func segments(all []journey, client uint16, flags string) []*journey {
	return with(all, func(j *journey) bool {
		h := j.Hops[0]
		return h.TCP != nil && h.TCP.Flags == flags && (h.Source.Port == client || h.Destination.Port == client)
	})
}

// only fails the test unless there is exactly one.
func only(t *testing.T, what string, found []*journey) *journey {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("%s: %d journeys, want 1", what, len(found))
	}
	return found[0]
}

// story is what one journey must be.
type story struct {
	from, to     string // names; "" for nobody of this host
	hops         []string
	end          string
	translations []change
}

// change is what one translation must be. The rule is one of iptables-save.
type change struct {
	kind          string
	undo          bool
	hook          string
	between       [2]int // -1 for a side without a tap
	before, after string // source > destination
	rule          string
}

// check holds a journey against its story. Rules are looked up in those of the
// namespace that translated.
func (s story) check(t *testing.T, what string, j *journey, rules natRules) {
	t.Helper()
	same(t, what+": from", j.From.Name, s.from)
	same(t, what+": to", j.To.Name, s.to)
	if want := strings.Join(s.hops, "\n"); j.Path() != want {
		t.Errorf("%s: hops\n%s\nwant\n%s", what, j.Path(), want)
	}
	same(t, what+": end", j.End(), s.end)
	if len(j.Translations) != len(s.translations) {
		t.Errorf("%s: %d translations, want %d: %+v", what, len(j.Translations), len(s.translations), j.Translations)
		return
	}
	for i, w := range s.translations {
		tr := &j.Translations[i]
		at := fmt.Sprintf("%s: translation %d: ", what, i)
		same(t, at+"kind", tr.Kind, w.kind)
		same(t, at+"undo", tr.Undo, w.undo)
		same(t, at+"hook", tr.Hook, w.hook)
		for k, side := range tr.Between {
			got := -1
			if side != nil {
				got = *side
			}
			same(t, at+"between", got, w.between[k])
		}
		same(t, at+"before", ends(tr.Before.Source, tr.Before.Destination), w.before)
		same(t, at+"after", ends(tr.After.Source, tr.After.Destination), w.after)
		same(t, at+"evidence", tr.Evidence, "conntrack")
		if tr.ConntrackID == 0 {
			t.Error(at + "no conntrack id")
		}
		switch {
		case w.rule == "" && tr.Rule == nil:
		case tr.Rule == nil:
			t.Errorf("%sno rule, want %s", at, w.rule)
		default:
			same(t, at+"rule", tr.Rule.Text, w.rule)
			same(t, at+"position", tr.Rule.Position, rules[w.rule])
			// Which of them depends on when counters were read, and on what else passed.
			if e := tr.Rule.Evidence; e != "evaluated" && e != "counter" {
				t.Errorf("%srule's evidence: %s", at, e)
			}
			same(t, at+"backend", tr.Rule.Backend, "iptables-nft")
			same(t, at+"table", tr.Rule.Table, "nat")
		}
	}
}

// ends writes both ends, with ports where there are any.
func ends(source, destination address) string {
	one := func(a address) string {
		if a.Port == 0 {
			return a.IP
		}
		return fmt.Sprintf("%s:%d", a.IP, a.Port)
	}
	return one(source) + " > " + one(destination)
}

// event is something that came, went or changed.
type event struct{ Kind, Object, Action, Name, Namespace, Detail string }

// events reads the events that a watch has printed so far.
func (w *watch) events() []event {
	w.t.Helper()
	var all []event
	for line := range strings.Lines(w.stdout.String()) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		var e event
		decode(w.t, []byte(line), &e)
		if e.Kind == "event" {
			all = append(all, e)
		}
	}
	return all
}

func portOf(a address) string { return strconv.Itoa(int(a.Port)) }
