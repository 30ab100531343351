package live

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Watching says what is attached, for the line that a watch begins with.
type Watching struct {
	Names   []string // namespaces, natlens's own first
	Links   int
	LeftOut []netinfo.LeftOut // wanted, but not attached
	Partly  []string          // attached without flows or rules, and why
	// Untraced are sentences about namespaces in which no trace can be asked for.
	Untraced []string
	// Logged are sentences about namespaces in which a setting is changed until
	// the end, because there are rules of iptables-legacy, or was left changed.
	Logged []string
}

// notice tells the correlator what a namespace's rings do.
type notice struct {
	namespace netns.ID
	since     int64              // when its ring was attached; 0 otherwise
	until     int64              // when its ring was detached; 0 otherwise
	rules     *netfilter.Ruleset // as they are at the beginning; nil when they can't be read
	refused   string             // a sentence: it can't be attached to; empty otherwise
	untraced  string             // a sentence: its rules can't be traced; empty otherwise
	logged    []string           // sentences: what is changed there until it is let go, and what was before
}

func (n notice) tell(c feed) {
	switch {
	case n.refused != "":
		return
	case n.until != 0:
		c.Forget(n.namespace, n.until)
		return
	}
	c.Watch(n.namespace, n.since)
	if n.rules != nil {
		c.SetRuleset(n.rules)
	}
}

// placement attaches to the namespaces of a topology and lets go of those that
// are gone. One goroutine at a time may use it, but for what early_linux.go has.
type placement struct {
	session  *Session
	attached map[netns.ID]bool
	early    early
	refused  map[netns.ID]error
	partly   map[netns.ID]error // attached, but without flows or rules
	watching Watching
}

func newPlacement(s *Session) placement {
	return placement{session: s, attached: map[netns.ID]bool{}, refused: map[netns.ID]error{}, partly: map[netns.ID]error{},
		early: early{since: map[netns.ID]time.Time{}}}
}

// follow makes what is attached what the topology asks for, and returns what the
// correlator has to be told of it. That natlens's own namespace can't be attached
// to is an error; any other is remembered as left out.
func (p *placement) follow(t *netinfo.Topology) (notices []notice, err error) {
	watch, left := netinfo.WatchSet(t, p.session.config.AllNamespaces, p.session.config.Also...)
	w := Watching{}
	for _, l := range left {
		if l.Wanted {
			w.LeftOut = append(w.LeftOut, l)
		}
	}
	wanted := map[netns.ID]bool{}
	for _, n := range watch {
		wanted[n.ID] = true
		if !p.attached[n.ID] && !errors.Is(p.refused[n.ID], os.ErrPermission) {
			// What this user may not do now it may not do later; memory for a
			// ring or a descriptor may be there the next time.
			news, err := p.attach(n)
			switch {
			case err == nil:
				delete(p.refused, n.ID)
				notices = append(notices, news)
			case errors.Is(err, os.ErrNotExist):
				continue // it ended meanwhile, as the next topology will say
			case errors.Is(err, os.ErrClosed), n.ID == t.Self:
				return notices, err
			default:
				if p.refused[n.ID] == nil {
					notices = append(notices, notice{namespace: n.ID, refused: n.Name + " is not watched: " + err.Error()})
				}
				p.refused[n.ID] = err
			}
		}
		if err := p.refused[n.ID]; err != nil {
			w.LeftOut = append(w.LeftOut, netinfo.LeftOut{Namespace: n, Name: n.Name, Reason: err.Error(), Wanted: true})
			continue
		}
		if err := p.partly[n.ID]; err != nil {
			w.Partly = append(w.Partly, n.Name+": "+err.Error())
		}
		w.Names = append(w.Names, n.Name)
		w.Links += len(n.Links)
	}
	p.watching = w
	// Letting go of one takes 50 ms, in which others begin.
	var leaving sync.WaitGroup
	for id := range p.attached {
		if !wanted[id] {
			delete(p.attached, id)
			delete(p.partly, id)
			notices = append(notices, notice{namespace: id, until: time.Now().UnixNano()})
			leaving.Go(func() { _ = p.release(id) }) // what is gone has nothing more to say
		}
	}
	leaving.Wait()
	for id := range p.refused {
		if !wanted[id] {
			delete(p.refused, id)
		}
	}
	return notices, nil
}

// attach listens to connection tracking before it captures, so that no packet
// is seen whose flow could have been missed. Rules and connection tracking are
// a help, not a condition: without them translations are inferred.
func (p *placement) attach(n *netinfo.Namespace) (notice, error) {
	h, err := n.Open()
	if err != nil {
		return notice{}, fmt.Errorf("watch %s: %w", n.Name, err)
	}
	defer h.Close()
	s := p.session
	errFlows := s.tracking.Attach(h)
	errRules := s.rules.Attach(h)
	rules, errRead := netfilter.ReadRuleset(h)
	if err := s.rings.Attach(h); err != nil {
		return notice{}, errors.Join(fmt.Errorf("watch %s: %w", n.Name, err), p.release(n.ID))
	}
	p.attached[n.ID] = true
	p.early.forget(n.ID)
	for _, err := range []error{errFlows, errors.Join(errRules, errRead)} {
		if err != nil {
			p.partly[n.ID] = errors.Join(p.partly[n.ID], err)
		}
	}
	news := notice{namespace: n.ID, since: s.rings.Since(n.ID), rules: rules}
	if s.tracer != nil {
		if err := s.tracer.Attach(h); err != nil {
			news.untraced = "rules of " + n.Name + " are not traced: " + err.Error()
		}
		news.logged = logged(n.Name, s.tracer.Loggers(n.ID))
	}
	return news, nil
}

// release lets go of a namespace: open sockets would keep it alive.
func (p *placement) release(id netns.ID) error {
	s := p.session
	var errTrace error
	if s.tracer != nil {
		errTrace = s.tracer.Detach(id)
	}
	return errors.Join(s.rings.Detach(id), s.tracking.Detach(id), s.rules.Detach(id), errTrace)
}
