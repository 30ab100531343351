package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"natlens/capture/pcapng"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// Knowledge is told what natlens knew while it wrote files, in the order of the
// files. Its functions may not be nil.
type Knowledge struct {
	Topology func(*netinfo.Topology)
	Ruleset  func(*netfilter.Ruleset)
	Flows    func(*netfilter.Batch)
}

// ErrNoKnowledge says that other programs wrote the files.
var ErrNoKnowledge = errors.New("natlens did not write it: packets alone don't tell what connection tracking knows")

// Tell tells what stands in the files beside packets. They must be of one host. It
// reads up to a break, and returns that. A Recording is read once.
func (r *Recording) Tell(ctx context.Context, to Knowledge) error {
	errs := r.errs
	for _, f := range r.foreign {
		errs = append(errs, f.wrap(ErrNoKnowledge))
	}
	if len(r.hosts) > 1 {
		var names []string
		for _, h := range r.hosts {
			names = append(names, h.name)
		}
		return fmt.Errorf("files of several hosts, %s: read those of one at a time", strings.Join(names, ", "))
	}
	var last *opened
	for _, f := range r.own {
		if err := f.repeats(last); err != nil {
			errs = append(errs, f.wrap(err))
			continue
		}
		for f != nil {
			last = f
			next, err := f.following(f.tell(ctx, to))
			if err != nil {
				errs = append(errs, f.wrap(err))
			}
			f = next
		}
	}
	return errors.Join(errs...)
}

func (o *opened) tell(ctx context.Context, to Knowledge) error {
	for ctx.Err() == nil {
		b, err := o.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s, ok := b.(*pcapng.Section); ok {
			o.further = s
			return nil
		}
		if l, ok := b.(*pcapng.Local); ok {
			l, err := o.told.read(l, o.header.Version)
			if err == nil {
				err = to.tell(l)
			}
			if err != nil {
				return brokenBlock(o.reader.Offset(), err)
			}
		}
	}
	return ctx.Err()
}

func (k Knowledge) tell(l *pcapng.Local) error {
	switch l.Kind {
	case kindTopology:
		v, err := decode[again[json.RawMessage]](l)
		if err != nil {
			return err
		}
		t, err := readTopology(v.Value, 0)
		if err == nil {
			k.Topology(t)
		}
		return err
	case kindRuleset:
		v, err := decode[again[*netfilter.Ruleset]](l)
		if err == nil && v.Value != nil {
			k.Ruleset(v.Value)
		}
		return err
	case kindFlows:
		v, err := decode[flows](l)
		if err != nil {
			return err
		}
		b, err := v.batch()
		if err == nil {
			k.Flows(b)
		}
		return err
	}
	return nil
}
