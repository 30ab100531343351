package record

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// session plays the files of one watch.
func (p *player) session(ctx context.Context, files []*opened) error {
	var errs []error
	if files[0].header.Filter != "" {
		p.choice = newChoice()
	}
	files = slices.Clone(files)
	var last *opened
	for i := 0; i < len(files) && (i == 0 || ctx.Err() == nil); i++ {
		f := files[i]
		if err := f.repeats(last); err != nil {
			errs = append(errs, f.wrap(err))
			continue
		}
		continues := last != nil && f.header.Part == last.header.Part+1
		if last != nil && !continues {
			p.warn(missingBetween(last, f))
		}
		last = f
		next, err := f.following(p.part(ctx, f, continues))
		if err != nil {
			errs = append(errs, f.wrap(err))
		}
		if next != nil {
			files = slices.Insert(files, i+1, next)
		}
	}
	p.drain()
	p.c.Flush()
	p.sum()
	for _, f := range files {
		if f.broken != nil {
			errs = append(errs, f.wrap(f.broken))
		}
	}
	return errors.Join(errs...)
}

// part plays one file. continues: what it repeats is known already. It ends where one of
// natlens's blocks is found broken, which may be told later; see opened.broken.
func (p *player) part(ctx context.Context, f *opened, continues bool) error {
	for ctx.Err() == nil && f.broken == nil {
		b, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch b := b.(type) {
		case *pcapng.Section:
			f.further = b
			return nil
		case *pcapng.Interface:
			f.links = append(f.links, b.LinkType)
		case *pcapng.Packet:
			at, ok := f.places[b.Interface-f.first]
			if !ok {
				continue // added by another program
			}
			if link, ok := f.links[b.Interface-f.first].Parser(); ok {
				p.packets = append(p.packets, p.observation(b, at, link))
			}
		case *pcapng.Local:
			if err := p.tell(f, b, continues); err != nil {
				return brokenBlock(f.reader.Offset(), err)
			}
		}
	}
	return ctx.Err()
}

// tell takes in a piece of knowledge. What must wait for packets waits as it stands in
// the file: what comes of it can be many times as long.
func (p *player) tell(f *opened, l *pcapng.Local, continues bool) error {
	switch l.Kind {
	case kindInterface:
		at, err := decode[place](l)
		at.Namespace = at.Namespace.On(p.host)
		f.places[at.Interface] = at
		return err
	case kindPicked:
		v, err := decode[picked](l)
		if p.choice != nil {
			p.choice.learn(&v)
		}
		return err
	case kindMark:
		v, err := decode[mark](l)
		p.queue = append(p.queue, told{through: v.Through, heard: v.Heard})
		return err
	case kindInterrupt:
		v, err := decode[interrupt](l)
		p.drain()
		p.c.Interrupt(v.Reason)
		return err
	case kindComplete:
		v, err := decode[complete](l)
		p.complete(v.Through)
		return err
	}
	at := f.reader.Offset()
	p.queue = append(p.queue, told{tell: func() {
		if err := p.know(f, l, continues); err != nil && f.broken == nil {
			f.broken = brokenBlock(at, err)
		}
	}})
	return nil
}

// know tells a piece of knowledge when all packets that precede it were told.
func (p *player) know(f *opened, l *pcapng.Local, continues bool) error {
	l, err := f.told.read(l, f.header.Version)
	if err != nil {
		return err
	}
	switch l.Kind {
	case kindTopology:
		v, err := decode[again[json.RawMessage]](l)
		if err != nil || v.Again && continues {
			return err
		}
		t, err := readTopology(v.Value, p.host)
		if err == nil {
			p.setTopology(t)
		}
		return err
	case kindRuleset:
		v, err := decode[again[*netfilter.Ruleset]](l)
		if err == nil && v.Value != nil && !(v.Again && continues) {
			v.Value.Namespace = v.Value.Namespace.On(p.host)
			p.c.SetRuleset(v.Value)
		}
		return err
	case kindFlows:
		v, err := decode[flows](l)
		if err != nil || v.Again && continues {
			return err
		}
		v.Namespace = v.Namespace.On(p.host)
		b, err := v.batch()
		if err == nil && b.Namespace != 0 {
			p.c.AddFlows(b)
		}
		return err
	case kindSocket:
		v, err := decode[trace.Socket](l)
		if err == nil {
			v.Namespace = v.Namespace.On(p.host)
			p.c.AddSocket(v)
		}
		return err
	case kindCounts:
		v, err := decode[netfilter.Counts](l)
		if err == nil && v.Namespace != 0 {
			v.Namespace = v.Namespace.On(p.host)
			p.c.AddCounts(v)
		}
		return err
	case kindHits:
		v, err := decode[hits](l)
		switch {
		case err != nil:
		case v.Namespace == 0:
			p.c.TracePaused(v.Paused, v.PausedAt)
		default:
			v.Namespace = v.Namespace.On(p.host)
			p.c.AddHits(v.batch())
		}
		return err
	case kindRing:
		v, err := decode[again[ring]](l)
		if err == nil && !(v.Again && continues) {
			v.Value.Namespace = v.Value.Namespace.On(p.host)
			v.Value.tell(p.c)
		}
		return err
	case kindLost:
		v, err := decode[lost](l)
		if err == nil {
			p.c.AddLost(v.on(p.host), cmp.Or(v.Through, p.c.Now()))
		}
		return err
	}
	return nil // of a later version
}

// brokenBlock says which of natlens's blocks can't be understood.
func brokenBlock(before int64, err error) error {
	return fmt.Errorf("block before byte %d: %w", before, err)
}

func decode[T any](l *pcapng.Local) (v T, err error) {
	if err = json.Unmarshal(l.Data, &v); err != nil {
		err = fmt.Errorf("natlens's block of kind %d: %w", l.Kind, err)
	}
	return v, err
}

func (r ring) tell(c *trace.Correlator) {
	if r.Until != 0 {
		c.Forget(r.Namespace, r.Until)
		return
	}
	c.Watch(r.Namespace, r.Since)
}

// complete tells what no packet before that time can precede any more.
func (p *player) complete(through int64) {
	slices.SortStableFunc(p.packets, func(a, b capture.Observation) int { return cmp.Compare(a.Time, b.Time) })
	for len(p.queue) > 0 && p.queue[0].through <= through {
		next := p.queue[0]
		p.queue[0] = told{}
		p.queue = p.queue[1:]
		if next.tell != nil {
			next.tell()
			continue
		}
		n, _ := slices.BinarySearchFunc(p.packets, next.through, func(o capture.Observation, t int64) int { return cmp.Compare(o.Time, t) })
		ready := p.packets[:n:n]
		p.packets = p.packets[n:]
		p.c.SetHeard(next.heard)
		p.c.Observe(&capture.Batch{Observations: ready, Through: next.through})
		p.advanced()
	}
}

// drain tells all that was read.
func (p *player) drain() {
	p.complete(math.MaxInt64)
	p.c.Observe(&capture.Batch{Observations: p.packets})
	p.packets = nil
}

func (p *player) setTopology(t *netinfo.Topology) {
	p.c.SetTopology(t)
	if p.to.Topology != nil {
		p.to.Topology(t)
	}
	if p.last != nil && p.to.Change != nil {
		for _, change := range netinfo.Diff(p.last, t) {
			p.to.Change(change, t.Time)
		}
	}
	p.last = t
}

// observation makes a packet of a file what a ring would have made of it.
func (p *player) observation(b *pcapng.Packet, at place, link packet.LinkType) capture.Observation {
	o := capture.Observation{
		Time: b.Time, Namespace: at.Namespace, Ifindex: at.Ifindex, Type: packetType(b),
		LinkType: link, WireLength: b.WireLength, Data: b.Data, Journey: b.ID,
	}
	o.Headers.Parse(link, b.Data, b.WireLength)
	o.Fingerprint = packet.Fingerprint(&o.Headers, b.Data)
	if p.account.Start == 0 || o.Time < p.account.Start {
		p.account.Start = o.Time
	}
	p.account.End = max(p.account.End, o.Time)
	return o
}

func packetType(b *pcapng.Packet) capture.PacketType {
	switch b.Direction {
	case pcapng.Outbound:
		return capture.Outgoing
	case pcapng.UnknownDirection:
		return capture.UnknownType
	case pcapng.Inbound:
	}
	for typ, reception := range receptions {
		if reception == b.Reception {
			return typ
		}
	}
	return capture.Host
}

// advanced tells how far the correlator has come.
func (p *player) advanced() {
	if p.to.advanced != nil {
		p.to.advanced()
	}
}

func (p *player) warn(sentence string) {
	if p.to.Warning != nil {
		p.to.Warning(sentence)
	}
}

// sum adds up what the correlator did.
func (p *player) sum() {
	p.account.add(&Account{Counters: p.c.Counters()})
}
