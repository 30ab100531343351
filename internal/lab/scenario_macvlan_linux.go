package lab

import "net/netip"

// lanAddress is a container's on the host's own network.
var lanAddress = netip.MustParsePrefix("192.0.2.20/24")

var macvlan = Scenario{
	Name:    "macvlan",
	Title:   "a container on the network outside, with a MAC of its own",
	Setting: "The network lan is a macvlan on the host's eth0. camera is on it, as 192.0.2.20.",
	Build: func(h *Host) error {
		if _, err := h.Network("docker0", BridgePrefix); err != nil {
			return err
		}
		_, err := h.Macvlan("camera", lanAddress)
		return err
	},
	Steps: []Step{
		{Natlens: []string{"list", "--all"}},
		{
			Says:    "Out, and in, without the host's help:",
			Natlens: []string{"watch", "-t", "--all-namespaces", "icmp"},
			Acts: []Act{
				{Typed: "docker exec camera ping -c 1 " + ServerAddress.String(), Do: pings("camera", ServerAddress, 1), Shown: 2},
				{Typed: "ping -c 1 192.0.2.20      # outside", Do: pings(InternetName, lanAddress.Addr(), 1), Shown: 2},
			},
		},
		{
			Says:    "To the host itself:",
			Natlens: []string{"probe", "camera", HostAddress.String()},
		},
	},
	Sentences: []string{
		"camera hangs at the host's eth0 with a MAC and an address of its own. The host's eth0 saw its packets pass and did nothing to them: no bridge, no forwarding, no NAT, and no rule of Docker's.",
		"Only the host itself and camera can't talk: a macvlan hands nothing to the link that it stands on.",
	},
}
