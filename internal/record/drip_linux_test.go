package record_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"natlens/internal/leak"
	"natlens/internal/record"
	"natlens/trace"
)

// What tcpdump writes to a pipe is shown while it writes, also the last packet before
// it has nothing more to write; and reading ends when nobody wants more.
func TestAPipeThatDrips(t *testing.T) {
	leak.Check(t)
	file, err := os.ReadFile("testdata/any.pcap")
	must(t, err)
	alone := play(t, "testdata/any.pcap")
	in, out, err := os.Pipe()
	must(t, err)
	defer out.Close()
	defer in.Close()
	capturedNow(file)                      // the last moment, since what is seconds old is not told of as captured now
	_, err = out.Write(file[:len(file)-1]) // less than what is told at once, and within a packet
	must(t, err)
	recording, err := record.Open([]record.File{{Name: "any", In: in}})
	must(t, err)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	journeys := 0
	_, err = recording.Play(ctx, trace.DefaultOpen, record.Listener{Journey: func(*trace.Journey) {
		if journeys++; journeys == len(alone.journeys)-1 {
			stop()
		}
	}})
	if err == nil || journeys < len(alone.journeys)-1 || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%d journeys before the pipe was closed, of %d; %v, %v", journeys, len(alone.journeys), err, ctx.Err())
	}
}

// A pipe that is always full tells what the file tells.
func TestAPipeOfAFile(t *testing.T) {
	file, err := os.ReadFile("testdata/any.pcap")
	must(t, err)
	alone := play(t, "testdata/any.pcap")
	recording, err := record.Open([]record.File{{Name: "any.pcap", In: io.MultiReader(bytes.NewReader(file))}})
	must(t, err)
	var piped recorded
	account, err := recording.Play(t.Context(), trace.DefaultOpen, record.Listener{
		Journey: func(j *trace.Journey) { piped.journeys = append(piped.journeys, asJSON(t, j)) },
		ARP:     func(trace.ARP) { piped.arp++ },
	})
	must(t, err)
	piped.counters = account.Counters
	alone.same(t, piped)
}

// capturedNow makes the last packet of a pcap file one of this moment, and leaves the
// others as far behind it as they were.
func capturedNow(file []byte) {
	order := binary.LittleEndian
	var seconds []byte
	each := func(do func()) {
		for at := 24; at < len(file); at += 16 + int(order.Uint32(file[at+8:])) {
			seconds = file[at : at+4]
			do()
		}
	}
	each(func() {})
	later := uint32(time.Now().Unix()) - order.Uint32(seconds)
	each(func() { order.PutUint32(seconds, order.Uint32(seconds)+later) })
}

// A pipe from which nothing comes holds up no other one that brings packets as they are
// captured; files wait for it, which is said.
func TestAPipeThatIsIdle(t *testing.T) {
	leak.Check(t)
	file, err := os.ReadFile("testdata/any.pcap")
	must(t, err)
	alone := play(t, "testdata/any.pcap")
	tape, err := os.ReadFile(keptTape)
	must(t, err)
	for name, test := range map[string]struct {
		file   []byte
		piped  bool
		waited bool
		want   int
	}{
		"beside a pipe": {file, true, false, len(alone.journeys) - 1}, "beside a file": {file, false, true, len(alone.journeys) - 1},
		"beside a host's": {tape, false, true, len(play(t, keptTape).journeys)},
	} {
		for _, idleFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, idle first: %v", name, idleFirst), func(t *testing.T) {
				t.Parallel()
				idle, end, err := os.Pipe()
				must(t, err)
				defer end.Close()
				defer idle.Close()
				_, err = end.Write(file[:24])
				must(t, err)
				busy := record.File{Name: "busy", In: bytes.NewReader(test.file)}
				if test.piped {
					in, out, err := os.Pipe()
					must(t, err)
					defer out.Close()
					defer in.Close()
					live := bytes.Clone(test.file)
					capturedNow(live)
					_, err = out.Write(live)
					must(t, err)
					busy.In = in
				}
				files := []record.File{busy, {Name: "idle", In: idle}}
				if idleFirst {
					slices.Reverse(files)
				}
				recording, err := record.Open(files)
				must(t, err)
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				journeys, warnings := 0, 0
				_, err = recording.Play(ctx, trace.DefaultOpen, record.Listener{
					Journey: func(*trace.Journey) {
						if journeys++; journeys == test.want {
							stop()
						}
					},
					ARP: func(trace.ARP) {},
					Warning: func(string) {
						warnings++
						end.Close() // then the file is told
					},
				})
				if journeys < test.want || (warnings == 1) != test.waited || warnings > 1 {
					t.Errorf("%d journeys of %d, %d warnings, %v", journeys, test.want, warnings, err)
				}
			})
		}
	}
}
