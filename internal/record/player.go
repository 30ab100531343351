package record

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"natlens/capture"
	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/trace"
)

// File is a capture file to play.
type File struct {
	Name string // for people
	In   io.Reader
}

// Listener is told what files hold, in the order of time. Its functions are
// called on the goroutine that plays, and may block.
type Listener struct {
	Journey func(*trace.Journey)
	ARP     func(trace.ARP)
	Change  func(netinfo.Change, time.Time)
	// Warning is a sentence about what can't be known; may be nil.
	Warning func(string)
}

// Account is what was played.
type Account struct {
	trace.Counters
	Start, End int64 // of the packets' times; 0: there were none
}

// Play plays files: those of a watch, with the parts of each in order, and those
// of other programs, merged by time. It ends early when ctx does, with its error.
// A broken file is played up to the break; the error, which matches
// *pcapng.BreakError, comes when everything was played.
func Play(ctx context.Context, files []File, open int, to Listener) (Account, error) {
	var account Account
	var own, foreign []*opened
	var errs []error
	for _, f := range files {
		o, err := openFile(f)
		switch {
		case err != nil:
			errs = append(errs, err)
		case o.header != nil:
			own = append(own, o)
		default:
			foreign = append(foreign, o)
		}
	}
	slices.SortStableFunc(own, func(a, b *opened) int {
		return cmp.Or(cmp.Compare(a.header.Session, b.header.Session), cmp.Compare(a.header.Part, b.header.Part))
	})
	for begin := 0; begin < len(own); {
		end := begin + 1
		for end < len(own) && own[end].header.Session == own[begin].header.Session {
			end++
		}
		p := newPlayer(open, to, &account)
		errs = append(errs, p.session(ctx, own[begin:end]))
		begin = end
	}
	if len(foreign) > 0 {
		p := newPlayer(open, to, &account)
		errs = append(errs, p.foreign(ctx, foreign))
	}
	return account, errors.Join(errs...)
}

// opened is a file that was looked at.
type opened struct {
	File
	reader *pcapng.Reader
	header *header           // nil: another program's
	ahead  []pcapng.Block    // what was read so far
	places map[int]place     // by interface
	links  []pcapng.LinkType // by interface
}

// openFile reads until it is clear whose file it is.
func openFile(f File) (*opened, error) {
	o := &opened{File: f, places: map[int]place{}}
	var err error
	if o.reader, err = pcapng.NewReader(f.In); err != nil {
		return nil, o.wrap(err)
	}
	for {
		b, _ := o.reader.Next()
		if b == nil {
			return o, nil // why, the reader says again
		}
		o.ahead = append(o.ahead, b)
		switch b := b.(type) {
		case *pcapng.Packet:
			return o, nil
		case *pcapng.Local:
			if b.Kind != kindHeader {
				return o, nil
			}
			o.header = &header{}
			if err := json.Unmarshal(b.Data, o.header); err != nil {
				return nil, o.wrap(err)
			}
			if o.header.Version > version {
				return nil, o.wrap(fmt.Errorf("written by a newer natlens (format %d, this one reads %d)", o.header.Version, version))
			}
			return o, nil
		}
	}
}

func (o *opened) wrap(err error) error { return fmt.Errorf("%s: %w", o.Name, err) }

// next returns the next block, those that were read ahead first.
func (o *opened) next() (pcapng.Block, error) {
	if len(o.ahead) > 0 {
		b := o.ahead[0]
		o.ahead = o.ahead[1:]
		return b, nil
	}
	return o.reader.Next()
}

// player tells one correlator what stands in files.
type player struct {
	c       *trace.Correlator
	to      Listener
	account *Account
	last    *netinfo.Topology

	// queue is what was read and must wait until all packets before it were
	// read, too.
	queue   []told
	packets []capture.Observation
}

// told is something that the correlator was told: a mark when through is not 0.
type told struct {
	through int64
	tell    func(*trace.Correlator)
}

func newPlayer(open int, to Listener, account *Account) *player {
	p := &player{to: to, account: account}
	p.c = trace.New(open, trace.Sink{Journey: to.Journey, ARP: to.ARP})
	return p
}
