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
	// Topology is what files say of a host, each time that it is otherwise; of files
	// of other programs what is made up to name places. It may be nil.
	Topology func(*netinfo.Topology)
	// Warning is a sentence about what can't be known; may be nil.
	Warning func(string)
	// All also tells what the filter of a watch did not pick, as far as the file
	// has it for the sake of what it did.
	All bool

	advanced func() // the correlator's watermark may have moved; may be nil
}

// Account is what was played.
type Account struct {
	trace.Counters
	Start, End int64 // of the packets' times; 0: there were none
}

// Recording is files that were opened, to be played together.
type Recording struct {
	own      []*opened
	foreign  []*opened
	errs     []error
	hosts    []*host
	topology *netinfo.Topology
}

// Open looks at the beginning of files. What can't be read is told by Play; the
// error is that none can.
func Open(files []File) (*Recording, error) {
	r := &Recording{}
	for _, f := range files {
		o, err := openFile(f)
		switch {
		case err != nil:
			r.errs = append(r.errs, err)
		case o.header != nil:
			r.own = append(r.own, o)
		default:
			r.foreign = append(r.foreign, o)
		}
	}
	if len(r.own)+len(r.foreign) == 0 {
		return nil, errors.Join(r.errs...)
	}
	slices.SortStableFunc(r.own, func(a, b *opened) int {
		return cmp.Or(cmp.Compare(a.header.Session, b.header.Session), cmp.Compare(a.header.Part, b.header.Part))
	})
	for i, o := range r.own[min(1, len(r.own)):] {
		if before := r.own[i]; o.header.Session == before.header.Session && o.header.Part == before.header.Part {
			return nil, fmt.Errorf("%s and %s: both are the same part of one watch, one is a copy", before.Name, o.Name)
		}
	}
	r.hosts = hostsOf(r.own)
	if len(r.hosts) == 1 {
		r.topology = r.own[0].topology
	}
	if len(r.hosts) > 1 {
		var all []*netinfo.Topology
		for i, h := range r.hosts {
			if t := h.first().topology; t != nil {
				renumber(t, uint32(i))
				all = append(all, t)
			}
		}
		r.topology = union(all...)
	}
	return r, nil
}

// Topology is the hosts as their first watches found them; nil when another
// program wrote the files.
func (r *Recording) Topology() *netinfo.Topology { return r.topology }

// Filters returns in words what picked the journeys of each file, those of other
// programs left out; empty where all were.
func (r *Recording) Filters() map[string]string {
	all := map[string]string{}
	for _, f := range r.own {
		all[f.Name] = f.header.Filter
	}
	return all
}

// Play plays the files. Those of one host are played one watch after another, with
// the parts of each in order; several hosts, and files of other programs, side by
// side by time, and what several saw of one packet is one journey. It ends early
// when ctx does, with its error. A broken file is played up to the break; the
// error, which matches *pcapng.BreakError, comes when everything was played. A
// Recording is played once.
func (r *Recording) Play(ctx context.Context, open int, to Listener) (Account, error) {
	if len(r.hosts) > 1 || len(r.hosts) == 1 && len(r.foreign) > 0 {
		return r.merge(ctx, open, to)
	}
	var account Account
	errs := r.errs
	for _, h := range r.hosts {
		for _, files := range h.sessions {
			if ctx.Err() == nil {
				errs = append(errs, newPlayer(open, to, &account).session(ctx, files))
			}
		}
	}
	if len(r.foreign) > 0 && ctx.Err() == nil {
		errs = append(errs, newPlayer(open, to, &account).foreign(ctx, r.foreign))
	}
	return account, errors.Join(errs...)
}

// opened is a file that was looked at.
type opened struct {
	File
	reader *pcapng.Reader
	start  int64   // of the file's bytes in In; -1: it can be read once only
	header *header // nil: another program's
	// topology is that of the host when the file began; nil when the file does
	// not tell.
	topology *netinfo.Topology
	told     versions          // what the file said of the host so far
	ahead    []pcapng.Block    // what was read so far of what is played
	unread   []pcapng.Block    // what was read behind it, and not looked at
	section  int               // links of the section that is played
	places   map[int]place     // by interface; of natlens's the part's first is 0
	links    []pcapng.LinkType // likewise
	broken   error             // what was wrong with a block that waited to be told; nil when nothing was
	first    int               // of natlens's: ID of the part's first interface
	begins   int64             // of natlens's: where the part begins, in bytes
	further  *pcapng.Section   // that which was reached behind it; nil until then
}

// openFile reads until it is clear whose file it is, and of which host.
func openFile(f File) (*opened, error) {
	o := &opened{File: f, places: map[int]place{}, told: versions{}, start: -1}
	var err error
	if file, ok := f.In.(io.Seeker); ok {
		if at, err := file.Seek(0, io.SeekCurrent); err == nil {
			o.start = at
		}
	}
	if o.reader, err = pcapng.NewReader(f.In); err != nil {
		return nil, o.wrap(err)
	}
	if o.reader.IsPcap() {
		return o, nil // another program's: nobody need wait for its first packet
	}
	_, _ = o.reader.Next() // the section; what is wrong with it, the reader says again
	if err = o.look(); err != nil {
		return nil, o.wrap(err)
	}
	return o, nil
}

// look reads the beginning of a section.
func (o *opened) look() (err error) {
	for {
		b, _ := o.read()
		if b == nil {
			return nil // why, the reader says again
		}
		switch b := b.(type) {
		case *pcapng.Interface:
			o.ahead = append(o.ahead, b)
		case *pcapng.Section, *pcapng.Packet:
			o.ahead = append(o.ahead, b)
			return nil
		case *pcapng.Local:
			o.ahead = append(o.ahead, b)
			if o.header == nil {
				if o.header, err = readHeader(b, o.reader.Offset()); err != nil {
					return err
				}
				continue
			}
			if err = o.readAhead(b); err != nil {
				return brokenBlock(o.reader.Offset(), err)
			}
			return nil
		}
	}
}

// readHeader reads the block that natlens's files begin with; it ends at that byte.
func readHeader(l *pcapng.Local, ends int64) (*header, error) {
	h, err := decode[header](l)
	switch {
	case l.Kind != kindHeader, h.Further:
		return nil, errors.New("the beginning of what natlens wrote is missing")
	case err != nil:
		err = brokenBlock(ends, err)
	case h.Version > version:
		err = fmt.Errorf("written by a newer natlens (format %d, this one reads %d)", h.Version, version)
	}
	return &h, err
}

// readAhead looks at the knowledge that a file begins with.
func (o *opened) readAhead(l *pcapng.Local) error {
	if l.Kind != kindTopology {
		return nil
	}
	v, err := decode[again[json.RawMessage]](l)
	if err == nil {
		o.topology, err = readTopology(v.Value, 0)
	}
	return err
}

func (o *opened) wrap(err error) error { return fmt.Errorf("%s: %w", o.Name, err) }

// next returns the next block, those that were read ahead first. A section in which a
// part goes on is passed over.
func (o *opened) next() (b pcapng.Block, err error) {
	if len(o.ahead) > 0 {
		b, o.ahead = o.ahead[0], o.ahead[1:]
	} else if b, err = o.read(); err != nil {
		return nil, err
	}
	switch b.(type) {
	case *pcapng.Interface:
		o.section++
	case *pcapng.Section:
		if o.header != nil && o.goesOn() {
			return o.next()
		}
	}
	return b, nil
}

// read returns the next block that nobody has looked at.
func (o *opened) read() (b pcapng.Block, err error) {
	if len(o.unread) > 0 {
		b, o.unread = o.unread[0], o.unread[1:]
		return b, nil
	}
	return o.reader.Next()
}

// player tells one correlator what stands in files.
type player struct {
	c       *trace.Correlator
	host    uint32 // its number; see netns.ID.On
	to      Listener
	account *Account
	last    *netinfo.Topology
	choice  *choice // nil when all was picked

	// queue is what was read and must wait until all packets before it were
	// read, too.
	queue   []told
	packets []capture.Observation
}

// told is something that the correlator was told: a mark when through is not 0.
type told struct {
	through int64
	heard   int64 // with a mark, see there
	tell    func()
}

func newPlayer(open int, to Listener, account *Account) *player {
	p := &player{to: to, account: account}
	// What was asked of sockets then is in the file; a correlator that can't ask takes no answer.
	sink := trace.Sink{ARP: to.ARP, Socket: func(trace.SocketQuery) {}}
	if to.Journey != nil {
		sink.Journey = p.journey
	}
	p.c = trace.New(open, sink)
	return p
}

// journey tells of a journey that the watch's filter picked.
func (p *player) journey(j *trace.Journey) {
	if p.choice == nil || p.choice.take(j) || p.to.All {
		p.to.Journey(j)
	}
}
