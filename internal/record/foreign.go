package record

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"natlens/capture"
	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// lane is one file of another program on its way.
type lane struct {
	*opened
	namespace *netinfo.Namespace // made up: each file is a place of its own
	names     []string           // of its interfaces
	last      int64              // time of the last packet that was read
	drip      *drip              // nil when all of it is there
	beside    []*lane            // all that are played with it, and it
	held      bool               // it was said that the others wait for it
	done      bool
	err       error
	unknown   map[pcapng.LinkType]bool // said already
}

const (
	// disorder is how far packets of a file can be out of order: each processor
	// hands on its own.
	disorder = int64(time.Second)
	// maxEarly is how many packets may wait for others that can be older: a file
	// may have any number of them in a second, or no times at all.
	maxEarly = 1 << 17
	// foreignBatch is how many packets are told at once.
	foreignBatch = 256
	// firstMadeUp is the index of a link that has none in the file, above those
	// that a kernel gives.
	firstMadeUp = 1 << 24
	// maxNamed is how many interfaces of a file have names.
	maxNamed = 1 << 10
)

// foreign plays files of other programs, merged by time.
func (p *player) foreign(ctx context.Context, files []*opened) error {
	p.c.ReadForeign()
	p.last = (&netinfo.Topology{}).Seal()
	var lanes []*lane
	for i, f := range files {
		l := &lane{opened: f, unknown: map[pcapng.LinkType]bool{}}
		l.namespace = &netinfo.Namespace{ID: netns.ID(i + 1).On(p.host), Name: p.uniqueName(baseName(f.Name)), NameFrom: "file"}
		lanes = append(lanes, l)
		p.announce(l.namespace, nil)
		if f.start < 0 {
			l.drip = newDrip(l.opened.next)
			defer l.drip.close(l.In)
		}
	}
	for _, l := range lanes {
		l.beside = lanes
	}
	var through int64
	var told uint64
	last := time.Now() // when it was told
	for ctx.Err() == nil {
		l := earliest(lanes)
		if l == nil {
			break
		}
		waits := !p.nextPacket(ctx, l)
		if waits {
			p.waitFor(ctx, l)
		}
		waits = waits || l.drip != nil && time.Since(last) > dripWait
		if len(p.packets) < foreignBatch && !waits {
			continue
		}
		last = time.Now()
		told += uint64(len(p.packets))
		if l = earliest(lanes); l != nil {
			// Where times go back by more, packets come late; that is theirs.
			waiting := told - p.c.Counters().Observations
			if through = max(through, l.time()-tolerance(waiting)); waiting > 2*maxEarly {
				through++ // those of the last time, too, need not wait
			}
		}
		p.c.Observe(&capture.Batch{Observations: p.packets, Through: through})
		p.packets = nil
		p.advanced()
	}
	p.drain()
	p.c.Flush()
	p.sum()
	var errs []error
	for _, l := range lanes {
		if l.err != nil {
			errs = append(errs, l.wrap(l.err))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// heldAfter is for how long nothing comes before it is said that others wait for it.
const heldAfter = 3 * time.Second

// waitFor looks for the first packets of other lanes where a lane has none so far, and
// says that they wait for it where they do.
func (p *player) waitFor(ctx context.Context, l *lane) {
	others := p.to.advanced != nil // a host's files
	for _, o := range l.beside {
		if o == l || o.done {
			continue
		}
		if l.last == 0 && o.last == 0 {
			p.nextPacket(ctx, o)
		}
		others = others || o.last != 0
	}
	if others && !l.held && l.drip.silent() >= heldAfter && earliest(l.beside) == l {
		l.held = true
		p.warn(l.Name + ": nothing comes; what the other files have waits for it, by its time")
	}
}

// tolerance is how far packets can be out of order while so many wait.
func tolerance(waiting uint64) int64 {
	switch {
	case waiting > 2*maxEarly:
		return 0
	case waiting > maxEarly:
		return disorder / 64
	}
	return disorder
}

// earliest returns the lane that is the furthest behind; nil when all have ended.
func earliest(lanes []*lane) (first *lane) {
	for _, l := range lanes {
		if !l.done && (first == nil || l.time() < first.time()) {
			first = l
		}
	}
	return first
}

// time is how far a lane has come: where packets come as they are captured, it goes
// on while there are none. An old file that stalls on its way does not. Where none came
// so far, the others tell which it is.
func (l *lane) time() int64 {
	if l.drip != nil && l.last == 0 && l.besideLive() {
		return time.Now().UnixNano()
	}
	if l.drip == nil || !l.drip.live(l.last) {
		return l.last
	}
	return l.last + int64(l.drip.silent())
}

// besideLive reports whether what other lanes have comes as it is captured.
func (l *lane) besideLive() (live bool) {
	for _, o := range l.beside {
		if o.last == 0 {
			continue
		}
		if live = o.drip != nil && o.drip.live(o.last); !live {
			return false
		}
	}
	return live
}

func (l *lane) next(ctx context.Context) (b pcapng.Block, ok bool, err error) {
	if l.drip != nil {
		return l.drip.next(ctx)
	}
	b, err = l.opened.next()
	return b, true, err
}

// nextPacket reads up to a lane's next packet. It is false when none came for a while.
func (p *player) nextPacket(ctx context.Context, l *lane) bool {
	for {
		b, ok, err := l.next(ctx)
		if !ok {
			return false
		}
		if err != nil {
			l.done = true
			if !errors.Is(err, io.EOF) {
				l.err = err
			}
			return true
		}
		switch b := b.(type) {
		case *pcapng.Section:
			l.further = b
		case *pcapng.Local:
			if l.further != nil {
				l.done, l.err = true, another(l.further)
				return true
			}
		case *pcapng.Interface:
			l.links = append(l.links, b.LinkType)
			l.names = append(l.names, b.Name)
		case *pcapng.Packet:
			l.last = b.Time
			if link, ok := l.links[b.Interface].Parser(); ok {
				p.packets = append(p.packets, p.observation(b, p.place(l, b), link))
			} else if kind := l.links[b.Interface]; !l.unknown[kind] {
				l.unknown[kind] = true
				p.warn(fmt.Sprintf("%s: packets of link type %v are left out: only Ethernet, raw IP, loopback and Linux cooked headers are read", l.Name, kind))
			}
			return true
		}
	}
}

// place says which link a packet was on, and announces the link at its first.
func (p *player) place(l *lane, b *pcapng.Packet) place {
	at := place{Namespace: l.namespace.ID, Ifindex: b.Ifindex}
	if b.Ifindex != 0 {
		return at // it has no name in the file
	}
	name := l.names[b.Interface]
	if l.links[b.Interface] == pcapng.LinkSLL {
		name = "any" // the links are not told apart
	} else {
		at.Ifindex = int32(firstMadeUp + b.Interface)
		name = cmp.Or(name, "link")
	}
	key := netinfo.LinkKey{Namespace: at.Namespace, Index: at.Ifindex}
	if p.last.Link(key) == nil && b.Interface < maxNamed {
		p.announce(l.namespace, &netinfo.Link{Key: key, Name: name, Role: netinfo.RoleOther})
	}
	return at
}

// announce adds a namespace or one of its links to what the correlator knows.
// It is never told of anything else.
func (p *player) announce(n *netinfo.Namespace, link *netinfo.Link) {
	grown := *n
	if link != nil {
		if known := p.last.Namespace(n.ID); known != nil {
			grown.Links = known.Links
		}
		grown.Links = append(slices.Clone(grown.Links), link)
	}
	t := &netinfo.Topology{Number: p.last.Number + 1}
	for _, old := range p.last.Namespaces {
		if old.ID != n.ID {
			kept := *old // what was announced must not change any more
			t.Namespaces = append(t.Namespaces, &kept)
		}
	}
	t.Namespaces = append(t.Namespaces, &grown)
	p.last = t.Seal()
	p.c.SetTopology(p.last)
	if p.to.Topology != nil {
		p.to.Topology(p.last)
	}
}

// uniqueName names the place that a file stands for.
func (p *player) uniqueName(file string) string {
	name := file
	for n := 2; slices.ContainsFunc(p.last.Namespaces, func(o *netinfo.Namespace) bool { return o.Name == name }); n++ {
		name = numbered(file, n)
	}
	return name
}

// numbered is how the nth of a name is called.
func numbered(name string, n int) string { return name + "-" + strconv.Itoa(n) }
