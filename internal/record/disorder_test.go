package record

import (
	"context"
	"io"
	"testing"

	"natlens/capture/pcapng"
	"natlens/trace"
)

// A file without times must not wait in memory for packets that may be older.
func TestPacketsOfOneTime(t *testing.T) {
	const n = 5 * maxEarly
	in, out := io.Pipe()
	go func() {
		w, err := pcapng.NewWriter(out, pcapng.Section{})
		if err == nil {
			_, err = w.Interface(pcapng.Interface{LinkType: pcapng.LinkEthernet})
		}
		frame := make([]byte, 60)
		for i := 0; i < n && err == nil; i++ {
			err = w.Packet(&pcapng.Packet{Time: 1, Data: frame})
		}
		if err == nil {
			err = w.Flush()
		}
		_ = out.CloseWithError(err)
	}()
	recording, err := Open([]File{{Name: "timeless", In: in}})
	if err != nil {
		t.Fatal(err)
	}
	var account Account
	p := newPlayer(1024, Listener{Journey: func(*trace.Journey) {}, ARP: func(trace.ARP) {}}, &account)
	var read, most uint64
	p.to.advanced = func() {
		read += foreignBatch
		most = max(most, read-p.c.Counters().Observations)
	}
	if err := p.foreign(context.Background(), recording.foreign); err != nil || account.Observations != n {
		t.Fatalf("%d packets, %v", account.Observations, err)
	}
	if most > 3*maxEarly {
		t.Errorf("%d packets waited at once", most)
	}
}
