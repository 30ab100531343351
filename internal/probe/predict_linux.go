package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// Predictor works out what to expect of probes on this host. It only reads, and
// reads the rules of each namespace once. It is safe for concurrent use.
type Predictor struct {
	topology *netinfo.Topology

	mu        sync.Mutex
	rulesets  map[netns.ID]*netfilter.Ruleset
	listening map[netns.ID][]netinfo.Listener
}

// NewPredictor returns a Predictor for the host as it is in the topology.
func NewPredictor(t *netinfo.Topology) *Predictor {
	return &Predictor{topology: t, rulesets: map[netns.ID]*netfilter.Ruleset{}, listening: map[netns.ID][]netinfo.Listener{}}
}

// Predict works out what becomes of the packet that the request asks for.
func (p *Predictor) Predict(s Source, d Destination, r Request) *Expectation {
	return host{
		topology: p.topology, rules: p.rules, route: p.route, forwards: p.forwards,
		bridgeFilter: p.bridgeFilter, answersForOthers: p.answersForOthers, listeners: p.listeners,
	}.predict(s, d, r)
}

func (p *Predictor) rules(n *netinfo.Namespace) *netfilter.Ruleset {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, read := p.rulesets[n.ID]; read {
		return r
	}
	var r *netfilter.Ruleset
	if in, err := n.Open(); err == nil {
		r, _ = netfilter.ReadRuleset(in) // without them the expectation is unsure
		_ = in.Close()
	}
	p.rulesets[n.ID] = r
	return r
}

func (p *Predictor) listeners(n *netinfo.Namespace) ([]netinfo.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, read := p.listening[n.ID]; read {
		return found, nil
	}
	found, err := netinfo.Listeners(n, p.topology.Self)
	if err == nil {
		p.listening[n.ID] = found
	}
	return found, err
}

// route asks the kernel (RTM_GETROUTE, rtnetlink(7)), which also applies policy
// rules and its check of source addresses.
func (p *Predictor) route(n *netinfo.Namespace, q routeQuery) (route, error) {
	in, err := n.Open()
	if err != nil {
		return route{}, err
	}
	defer in.Close()
	var h *netlink.Handle
	if err := in.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}); err != nil {
		return route{}, fmt.Errorf("ask %s for a route: %w", n.Name, err)
	}
	defer h.Close()
	options := &netlink.RouteGetOptions{}
	if q.from.IsValid() {
		options.SrcAddr = q.from.AsSlice()
	}
	if q.in != nil {
		options.IifIndex = int(q.in.Key.Index)
	}
	if q.out != nil {
		options.OifIndex = int(q.out.Key.Index)
	}
	found, err := h.RouteGetWithOptions(q.to.AsSlice(), options)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL):
		return route{}, &noRoute{"the kernel does not believe the source address (rp_filter)"}
	case errors.Is(err, unix.EACCES):
		return route{}, &noRoute{"a route prohibits it"}
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return route{}, &noRoute{"network is unreachable"}
	case err != nil:
		return route{}, err
	case len(found) == 0:
		return route{}, &noRoute{"network is unreachable"}
	}
	r := route{
		local: found[0].Type == unix.RTN_LOCAL, broadcast: found[0].Type == unix.RTN_BROADCAST,
		gateway: addrOf(found[0].Gw), source: addrOf(found[0].Src),
	}
	for _, l := range n.Links {
		if int(l.Key.Index) == found[0].LinkIndex {
			r.out = l
		}
	}
	return r, nil
}

func (p *Predictor) forwards(n *netinfo.Namespace, is4 bool) bool {
	if is4 {
		return p.sysctl(n, "net/ipv4/ip_forward") != "0"
	}
	return p.sysctl(n, "net/ipv6/conf/all/forwarding") != "0"
}

func (p *Predictor) bridgeFilter(n *netinfo.Namespace, is4 bool) bool {
	if is4 {
		return p.sysctl(n, "net/bridge/bridge-nf-call-iptables") == "1"
	}
	return p.sysctl(n, "net/bridge/bridge-nf-call-ip6tables") == "1"
}

func (p *Predictor) answersForOthers(n *netinfo.Namespace, l *netinfo.Link, is4 bool) bool {
	setting := "net/ipv6/conf/%s/proxy_ndp"
	if is4 {
		setting = "net/ipv4/conf/%s/proxy_arp"
	}
	return p.sysctl(n, fmt.Sprintf(setting, l.Name)) == "1" || p.sysctl(n, fmt.Sprintf(setting, "all")) == "1"
}

// sysctl reads a setting of the namespace; empty when there is none.
func (p *Predictor) sysctl(n *netinfo.Namespace, name string) string {
	in, err := n.Open()
	if err != nil {
		return ""
	}
	defer in.Close()
	var value []byte
	// /proc/sys/net shows the namespace of the thread that opens it (proc(5)).
	err = in.Do(func() (err error) {
		value, err = os.ReadFile("/proc/sys/" + name)
		return err
	})
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(value))
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
