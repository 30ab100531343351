package probe

import (
	"net/netip"
	"strings"

	"natlens/netinfo"
)

// ofPodman reports whether it is Podman that runs a container.
func ofPodman(t *netinfo.Topology, c *netinfo.Container) bool {
	return c.Unasked || t.Engine != nil && strings.Contains(t.Engine.Name, "Podman")
}

// askPodman says whether FROM could have resolved the container's name: on a network
// with names, aardvark-dns answers at the gateway, a socket of the host.
func askPodman(t *netinfo.Topology, from Source, to *netinfo.Container) Lookup {
	l := Lookup{Asked: true, How: "no network has both of them"}
	for _, n := range t.Networks {
		for _, e := range to.Endpoints {
			if e.Network != n.Name || !shares(from.Container, e) {
				continue
			}
			l.How = "no DNS server listens at the gateway of " + n.Name
			for _, s := range n.Subnets {
				if g := t.Gateway(n, s); answersNames(t, g) {
					return Lookup{Asked: true, Resolves: true, How: "Podman's DNS, " + g.String()}
				}
			}
		}
	}
	return l
}

// answersNames reports whether a DNS server of the host listens at a gateway.
func answersNames(t *netinfo.Topology, gateway netip.Addr) bool {
	self := t.Namespace(t.Self)
	if self == nil || !gateway.IsValid() {
		return false
	}
	listeners, err := netinfo.Listeners(self, t.Self)
	if err != nil {
		return false
	}
	for _, l := range listeners {
		if l.Protocol == "udp" && l.Address.Port() == 53 && l.Accepts(gateway) {
			return true
		}
	}
	return false
}
