package netinfo

import (
	"bytes"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"natlens/netinfo/netns"
)

// Proxy is a running docker-proxy, known by its command line and by the socket
// that it listens at. The engine starts one for each address and
// port that it publishes: it accepts what reaches Listen without having been
// translated, and makes connections of its own to Backend. The container sees
// those, with an address of the host as their source.
type Proxy struct {
	PID       int
	Namespace netns.ID // where it listens, and whence it connects
	Protocol  string   // tcp, udp, sctp
	Listen    netip.AddrPort
	Backend   netip.AddrPort // of the other family where only one side has IPv6
}

// parseProxy reads a command line as /proc/PID/cmdline has it; ok is false when
// it is not that of a docker-proxy (moby, cmd/docker-proxy/main.go).
func parseProxy(cmdline []byte) (p Proxy, ok bool) {
	words := strings.Split(string(bytes.TrimRight(cmdline, "\x00")), "\x00")
	if path.Base(words[0]) != "docker-proxy" {
		return Proxy{}, false
	}
	given := map[string]string{"proto": "tcp"}
	for i := 1; i < len(words); i++ {
		name, dashed := strings.CutPrefix(words[i], "-")
		if !dashed {
			continue
		}
		name = strings.TrimPrefix(name, "-")
		if before, value, joined := strings.Cut(name, "="); joined {
			given[before] = value
		} else if i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			i++
			given[name] = words[i]
		}
	}
	p.Protocol = given["proto"]
	var known [2]bool
	p.Listen, known[0] = addrPort(given["host-ip"], given["host-port"])
	p.Backend, known[1] = addrPort(given["container-ip"], given["container-port"])
	return p, known[0] && known[1] && !p.Backend.Addr().IsUnspecified()
}

func addrPort(address, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err == nil && n != 0
}

// Accepts reports whether what is sent to this address of the namespace's own
// and this port reaches the proxy. One that listens at 0.0.0.0 takes IPv4 only.
func (p *Proxy) Accepts(a netip.Addr, port uint16) bool {
	own := p.Listen.Addr()
	return port == p.Listen.Port() && own.Is4() == a.Is4() && (own.IsUnspecified() || own == a)
}

// userlandProxy looks for a docker-proxy behind the published ports. It listens
// where the engine runs, which is where the containers' links lead: those of
// another engine may have the same ports and addresses.
func userlandProxy(t *Topology) string {
	answer := ""
	for _, c := range t.Containers {
		engine := farNamespace(t, c)
		if engine == 0 {
			continue // not on this host, or not known to be
		}
		for _, p := range c.Ports {
			if !p.HostAddress.IsValid() {
				continue
			}
			if slices.ContainsFunc(t.Proxies, func(x Proxy) bool {
				return x.Namespace == engine && x.Protocol == p.Protocol && x.Listen.Port() == p.HostAddress.Port() && x.Backend.Port() == p.ContainerPort
			}) {
				return "on"
			}
			answer = "off"
		}
	}
	return answer
}

// farNamespace returns the namespace at the other end of a container's first veth;
// 0 when it has none.
func farNamespace(t *Topology, c *Container) netns.ID {
	for _, key := range c.Links {
		if l := t.Link(key); l != nil && l.Peer != nil && l.Peer.Key.Namespace != 0 {
			return l.Peer.Key.Namespace
		}
	}
	return 0
}
