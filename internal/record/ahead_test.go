package record_test

import (
	"os"
	"testing"

	"natlens/internal/record"
)

// What a file says of the host is known before it is played.
func TestTheHostIsKnownAhead(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	d.tape.Flush()
	must(t, d.tape.Err())
	f, err := os.Open(d.paths[0])
	must(t, err)
	defer f.Close()
	recording, err := record.Open([]record.File{{Name: "tape", In: f}})
	must(t, err)
	if host := recording.Topology(); host == nil || len(host.Namespaces) != 2 {
		t.Errorf("%+v", host)
	}
}
