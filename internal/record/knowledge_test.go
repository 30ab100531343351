package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// What comes of a namespace when it has gone is not kept until the end of the watch.
func TestKnowledgeOfANamespaceThatWent(t *testing.T) {
	tape, err := NewTape(Config{Open: func(int) (io.WriteCloser, error) { return nowhere{io.Discard}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	tape.AttachTo(trace.New(1024, trace.Sink{}))
	const went, stays, early netns.ID = 7, 8, 9
	tuple := packet.NewTuple(packet.UDP, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), 1, 2)
	tell := func(ns netns.ID) {
		tape.AddFlows(&netfilter.Batch{Namespace: ns, Events: []netfilter.Event{{
			Kind: netfilter.New, After: 3, Before: 4, Flow: netfilter.Flow{ID: 1, Namespace: ns, Original: tuple, Reply: tuple.Inverse()}}}})
		tape.SetRuleset(&netfilter.Ruleset{Namespace: ns, Time: 3})
	}
	for _, ns := range []netns.ID{went, early} {
		tape.Watch(ns, 1)
	}
	tape.Forget(went, 4)
	for _, ns := range []netns.ID{went, stays, early} {
		tell(ns)
	}
	tape.SetTopology((&netinfo.Topology{Namespaces: []*netinfo.Namespace{{ID: stays}}}).Seal())
	if k := &tape.known; len(k.flows) != 2 || len(k.rulesets) != 2 || len(k.silent) != 2 || k.rulesets[went] != nil {
		t.Errorf("%d flows, %d rulesets, %d namespaces are kept, want 2 of each", len(k.flows), len(k.rulesets), len(k.silent))
	}
	if tape.Flush(); tape.Err() != nil {
		t.Error(tape.Err())
	}
}

// Rules of a namespace that went are kept neither by who writes nor by who reads them; a
// namespace that gets its number is told its own, whole.
func TestRulesOfNamespacesThatWent(t *testing.T) {
	var file bytes.Buffer
	tape, err := NewTape(Config{Open: func(int) (io.WriteCloser, error) { return nowhere{&file}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	tape.AttachTo(trace.New(1024, trace.Sink{}))
	const again, late netns.ID = 5, 6
	var want []string
	set := func(ns netns.ID, name string) {
		r := &netfilter.Ruleset{}
		text := fmt.Sprintf(`{"Namespace":%d,"Time":%d,"Tables":[{"Family":"ip","Name":"%s"}]}`, ns, len(want)+1, strings.Repeat(name, 500))
		if err := json.Unmarshal([]byte(text), r); err != nil {
			t.Fatal(err)
		}
		tape.SetRuleset(r)
		want = append(want, string(asJSON(t, r)))
	}
	for i := range 50 {
		for _, ns := range []netns.ID{netns.ID(i + 10), again} {
			tape.Watch(ns, 1)
			set(ns, "a")
			set(ns, "a") // of which little is otherwise
			tape.Forget(ns, 2)
		}
		set(again, "a") // read when the namespace had gone
		tape.Watch(late, 1)
		tape.Forget(late, 2)
		set(late, "b")
		tape.SetTopology((&netinfo.Topology{Number: uint64(i)}).Seal())
	}
	if n := len(tape.told); n > 1 {
		t.Errorf("%d versions are kept of a host without namespaces, want its own alone", n)
	}
	if tape.Flush(); tape.Err() != nil {
		t.Fatal(tape.Err())
	}
	if n := bytes.Count(file.Bytes(), []byte(`"Change"`)); n < 100 {
		t.Errorf("%d changes are written, want one for each that is told twice", n)
	}
	recording, err := Open([]File{{Name: "tape", In: bytes.NewReader(file.Bytes())}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = recording.Tell(t.Context(), Knowledge{Topology: func(*netinfo.Topology) {}, Flows: func(*netfilter.Batch) {}, Ruleset: func(r *netfilter.Ruleset) {
		got = append(got, string(asJSON(t, r)))
	}})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v -written +read\n%s", err, diff)
	}
	if n := len(recording.own[0].told); n > 3 {
		t.Errorf("who reads keeps %d versions", n)
	}
}

// What is nobody's business elsewhere is not in a file.
func TestWhatAFileDoesNotTell(t *testing.T) {
	c := &netinfo.Container{}
	c.Name, c.PID, c.SandboxKey, c.Labels = "back", 4711, "/run/docker/netns/abc", map[string]string{"password": "secret"}
	n := &netinfo.Namespace{ID: 1, Name: "back", PIDs: []int{4711}, Paths: []string{"/run/docker/netns/abc"}, Containers: []*netinfo.Container{c}}
	host := (&netinfo.Topology{Self: 1, Namespaces: []*netinfo.Namespace{n}, Containers: []*netinfo.Container{c}}).Seal()
	written, err := json.Marshal(topologyOf(host))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"4711", "/run", "secret"} {
		if strings.Contains(string(written), secret) {
			t.Errorf("%q is in %s", secret, written)
		}
	}
	read, err := readTopology(written, 0)
	if err != nil || len(read.FindContainer("back")) != 1 {
		t.Errorf("%+v: %v", read, err)
	}
}
