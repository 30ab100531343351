package record_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"natlens/internal/record"
	"natlens/trace"
)

// frame is a packet of a file as tshark understands it.
type frame struct {
	time, source, destination string
	identity                  string // what no router or NAT changes
}

// framesOf lists the IP packets of files by time, but those that make no journeys.
func framesOf(t *testing.T, paths ...string) (frames []frame) {
	t.Helper()
	for _, path := range paths {
		fields := []string{"frame.time_epoch", "ip.src", "ip.dst", "ip.proto", "ip.id", "icmp.type", "icmp.seq", "udp.length",
			"tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.len", "udp.srcport"}
		args := []string{"-r", path, "-n", "-Y", "ip and not igmp", "-T", "fields", "-E", "occurrence=f"}
		for _, f := range fields {
			args = append(args, "-e", f)
		}
		for line := range strings.Lines(tshark(t, "tshark", args...)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			asked := f[12] == fmt.Sprint(dnsPort)
			frames = append(frames, frame{f[0], f[1], f[2], strings.Join(f[3:12], " ") + fmt.Sprint(asked)})
		}
	}
	slices.SortStableFunc(frames, func(a, b frame) int { return cmp.Compare(a.time, b.time) })
	return frames
}

// Packets of files that tell nothing but packets are joined as tshark's idea of
// them says.
func TestForeignFilesGiveJourneys(t *testing.T) { checkForeign(t, "testdata") }

func checkForeign(t *testing.T, dir string) {
	t.Helper()
	for _, names := range [][]string{{"any.pcap"}, {"any-sll.pcap"}, {"veth.pcap", "uplink.pcap"}, {"uplink.pcap", "veth.pcap"}, {"veth.pcap"}} {
		t.Run(strings.Join(names, " "), func(t *testing.T) {
			var paths []string
			var files []record.File
			for _, n := range names {
				paths = append(paths, filepath.Join(dir, n))
				f, err := os.Open(paths[len(paths)-1])
				must(t, err)
				defer f.Close()
				files = append(files, record.File{Name: n, In: f})
			}
			var journeys []*trace.Journey
			recording, err := record.Open(files)
			must(t, err)
			if recording.Topology() != nil {
				t.Error("a topology from nowhere")
			}
			account, err := recording.Play(t.Context(), trace.DefaultOpen, record.Listener{
				Journey: func(j *trace.Journey) { journeys = append(journeys, j) },
				Warning: func(s string) { t.Errorf("warning: %s", s) },
			})
			must(t, err)

			byIdentity := map[string][]frame{}
			var order []string
			for _, f := range framesOf(t, paths...) {
				if byIdentity[f.identity] == nil {
					order = append(order, f.identity)
				}
				byIdentity[f.identity] = append(byIdentity[f.identity], f)
			}
			if len(journeys) != len(order) || len(order) < 20 {
				t.Fatalf("%d journeys, tshark finds %d packets", len(journeys), len(order))
			}
			slices.SortStableFunc(journeys, func(a, b *trace.Journey) int { return cmp.Compare(a.Time, b.Time) })
			translated := 0
			for i, j := range journeys {
				want := byIdentity[order[i]]
				if len(j.Hops) != len(want) {
					t.Errorf("journey %d has %d hops, want %d: %v", j.ID, len(j.Hops), len(want), want)
					continue
				}
				var changes []string
				for k, h := range j.Hops {
					at := fmt.Sprintf("%d.%09d", h.Time/1e9, h.Time%1e9)
					if at != want[k].time || h.Headers.Tuple.Source().String() != want[k].source || h.Headers.Tuple.Destination().String() != want[k].destination {
						t.Errorf("journey %d, hop %d: %s at %s, want %+v", j.ID, k, h.Headers.Tuple, at, want[k])
					}
					if k > 0 && want[k-1].source != want[k].source {
						changes = append(changes, fmt.Sprintf("%d-%d source %s", k-1, k, want[k].source))
					}
					if k > 0 && want[k-1].destination != want[k].destination {
						changes = append(changes, fmt.Sprintf("%d-%d destination %s", k-1, k, want[k].destination))
					}
				}
				var found []string
				for _, c := range j.Translations {
					translated++
					what := "source " + c.After.Source().String()
					if c.Before.Source() == c.After.Source() {
						what = "destination " + c.After.Destination().String()
					}
					found = append(found, fmt.Sprintf("%d-%d %s", c.Between[0], c.Between[1], what))
					if c.Evidence != trace.ByInference || c.ConntrackID != 0 || c.Rule != nil {
						t.Errorf("journey %d: %+v is claimed to be known", j.ID, c)
					}
					if masqueraded := j.From.Port != 8000 && j.To.Port != 8000; masqueraded != (c.Kind == trace.SNAT) {
						t.Errorf("journey %d: %s", j.ID, c.Kind)
					}
				}
				if !slices.Equal(found, changes) {
					t.Errorf("journey %d: translations %q, want %q", j.ID, found, changes)
				}
				var notes []string
				if len(found) > 0 {
					notes = append(notes, "no conntrack entry known: hops joined because nothing else fits")
				}
				if !strings.HasPrefix(names[0], "any") {
					notes = append(notes, "the file does not tell which way packets went")
				}
				if !slices.Equal(j.Notes, notes) {
					t.Errorf("journey %d: notes %q, want %q", j.ID, j.Notes, notes)
				}
				if len(j.Flows) > 0 {
					t.Errorf("journey %d has flows %v", j.ID, j.Flows)
				}
			}
			if want := len(names) > 1 || names[0] != "veth.pcap"; (translated > 20) != want {
				t.Errorf("%d translations", translated)
			}
			if account.Observations == 0 || account.End <= account.Start {
				t.Errorf("account %+v", account)
			}
		})
	}
}
