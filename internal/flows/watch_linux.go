package flows

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// watch reads the tables of connection tracking of this host's namespaces.
type watch struct {
	config   Config
	tracking *netfilter.Conntrack
	rules    *netfilter.Rulesets
	table    *Table
	attached map[netns.ID]bool
	asked    []string          // names of those that could be attached to
	waiting  map[netns.ID]bool // whose first dump is not at its end
}

// Config says what is read.
type Config struct {
	Host          netinfo.Options
	AllNamespaces bool
	// Follow goes on after the first reading, and takes namespaces that come.
	Follow bool
	// Known is called when all tables were read once, with the names of their
	// namespaces, natlens's own first; Changed from then on, and Warn with a sentence
	// about what can't be read; none may be nil. They are called on the goroutine of
	// Run.
	Known   func(t *Table, asked []string)
	Changed func([]Change)
	Warn    func(string)
}

// Run reads the tables until ctx ends or, without Follow, all of them were read
// once; then it returns nil. That natlens's own can't be read is an error. It writes
// nothing, and needs CAP_NET_ADMIN and, for other namespaces, CAP_SYS_ADMIN.
func Run(ctx context.Context, c Config) (err error) {
	w := &watch{config: c, table: NewTable(), attached: map[netns.ID]bool{}, waiting: map[netns.ID]bool{}}
	if w.tracking, err = netfilter.NewConntrack(netfilter.ConntrackConfig{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.tracking.Close()) }()
	if w.rules, err = netfilter.NewRulesets(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.rules.Close()) }()
	t, err := netinfo.Scan(ctx, c.Host)
	if err != nil {
		return err
	}
	if err := w.place(t); err != nil {
		return err
	}
	return w.run(ctx)
}

// place attaches to the namespaces of a topology.
func (w *watch) place(t *netinfo.Topology) error {
	w.table.SetTopology(t)
	set, left := netinfo.WatchSet(t, w.config.AllNamespaces)
	for _, l := range left {
		if l.Wanted && len(w.attached) == 0 {
			w.config.Warn(l.Name + " is left out: " + l.Reason)
		}
	}
	for _, n := range set {
		if w.attached[n.ID] {
			continue
		}
		err := w.attach(n)
		switch {
		case err == nil:
			w.attached[n.ID], w.waiting[n.ID] = true, true
			w.asked = append(w.asked, n.Name)
		case errors.Is(err, os.ErrNotExist): // it ended meanwhile
		case n.ID == t.Self:
			return err
		default:
			w.attached[n.ID] = true // once said is enough
			w.config.Warn(n.Name + " is left out: " + err.Error())
		}
	}
	for id := range w.attached {
		if !slices.ContainsFunc(set, func(n *netinfo.Namespace) bool { return n.ID == id }) {
			delete(w.attached, id)
			delete(w.waiting, id)
			_ = errors.Join(w.tracking.Detach(id), w.rules.Detach(id)) // what is gone has nothing more to say
		}
	}
	return nil
}

func (w *watch) attach(n *netinfo.Namespace) error {
	h, err := n.Open()
	if err != nil {
		return err
	}
	defer h.Close()
	if r, err := netfilter.ReadRuleset(h); err == nil {
		w.table.SetRuleset(r) // without rules flows are told all the same
	}
	if w.config.Follow {
		_ = w.rules.Attach(h) // likewise
	}
	return w.tracking.Attach(h)
}

// follow keeps up with the host.
func (w *watch) follow(ctx context.Context, out chan<- *netinfo.Topology) error {
	if !w.config.Follow {
		return nil
	}
	if err := netinfo.NewWatcher(w.config.Host).Run(ctx, out); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (w *watch) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	flows := make(chan netfilter.Batch, 256)
	rulesets := make(chan *netfilter.Ruleset, 16)
	topologies := make(chan *netinfo.Topology)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.tracking.Run(ctx, flows) })
	group.Go(func() error { return w.rules.Run(ctx, rulesets, nil) })
	group.Go(func() error { return w.follow(ctx, topologies) })
	group.Go(func() error {
		defer stop()
		told := false
		for {
			select {
			case <-ctx.Done():
				return nil
			case r := <-rulesets:
				w.table.SetRuleset(r)
			case t := <-topologies:
				if err := w.place(t); err != nil {
					return err
				}
			case b := <-flows:
				changes := w.take(&b)
				switch {
				case told && len(changes) > 0:
					w.config.Changed(changes)
				case !told && len(w.waiting) == 0:
					told = true
					w.config.Known(w.table, w.asked)
					if !w.config.Follow {
						return nil
					}
				}
			}
		}
	})
	return group.Wait()
}

// take feeds the table.
func (w *watch) take(b *netfilter.Batch) []Change {
	name := w.table.Topology().NamespaceName(b.Namespace)
	if b.DumpError != nil && w.waiting[b.Namespace] {
		w.config.Warn(fmt.Sprintf("the flows of %s: %v", name, b.DumpError))
		delete(w.waiting, b.Namespace)
	}
	if b.Overruns > 0 {
		w.config.Warn(fmt.Sprintf("connection tracking of %s lost %d events; its table is read again", name, max(b.Lost, b.Overruns)))
	}
	if b.Synced {
		delete(w.waiting, b.Namespace)
	}
	return w.table.AddFlows(b)
}
