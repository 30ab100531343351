package lab

import (
	"context"
	"net/netip"
)

var bridge = Scenario{
	Name:    "bridge",
	Title:   "the default bridge, and who reaches whom over docker0",
	Setting: "Two containers, back (172.17.0.2) and database (172.17.0.3), are on docker0. No port is published.",
	Build: func(h *Host) error {
		docker0, err := h.Network("docker0", BridgePrefix)
		if err != nil {
			return err
		}
		for _, name := range []string{"back", "database"} {
			if _, err := h.Container(name, docker0); err != nil {
				return err
			}
		}
		return nil
	},
	Steps: []Step{
		{
			Says:    "Out, to the neighbour, from the host, to the host:",
			Natlens: []string{"watch", "-t", "icmp"},
			Acts: []Act{
				{Typed: "docker exec back ping -c 1 " + ServerAddress.String(), Do: pings("back", ServerAddress, 1), Shown: 2},
				{Typed: "docker exec back ping -c 1 172.17.0.3", Do: pings("back", netip.MustParseAddr("172.17.0.3"), 1), Shown: 2},
				{Typed: "ping -c 1 172.17.0.2            # on the host", Do: pings("host", netip.MustParseAddr("172.17.0.2"), 1), Shown: 2},
				{Typed: "docker exec back ping -c 1 172.17.0.1", Do: pings("back", BridgePrefix.Addr(), 1), Shown: 2},
			},
		},
		{
			Says: "A machine outside learns the way to 172.17.0.0/16, and tries.",
			Acts: []Act{{Typed: "ip route add 172.17.0.0/16 via 192.0.2.10     # on the router outside", Do: learnsTheWay}},
		},
		{Natlens: []string{"probe", InternetName, "172.17.0.2"}},
	},
	Sentences: []string{
		"back reaches everything: the internet in the host's name, its neighbour over the bridge without any translation, and the host itself by the gateway's address.",
		"The host reaches back without a published port, because docker0 is the host's own link to 172.17.0.0/16: publishing is for those outside.",
		"Nobody outside begins a connection to back: the world has no route to 172.17.0.2, and where somebody makes one, the policy of FORWARD drops what no rule accepts.",
	},
}

// learnsTheWay gives the internet a route to the default bridge's containers,
// over the host.
func learnsTheWay(_ context.Context, h *Host) error {
	return h.internet.route(BridgePrefix.Masked(), HostAddress)
}
