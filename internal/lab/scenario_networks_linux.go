package lab

import "net/netip"

var networks = Scenario{
	Name:    "networks",
	Title:   "two networks keep apart, until a container is on both",
	Setting: "ubuntu is on docker0, 172.17.0.0/16; back is on back_net, 172.24.0.0/16.",
	Build: func(h *Host) error {
		docker0, err := h.Network("docker0", BridgePrefix)
		if err != nil {
			return err
		}
		b, err := h.NamedNetwork(backNet, backGateway)
		if err != nil {
			return err
		}
		if _, err := h.Container("ubuntu", docker0); err != nil {
			return err
		}
		_, err = h.Container("back", b)
		return err
	},
	Steps: []Step{
		{
			Says:    "ubuntu tries to reach back.",
			Natlens: []string{"probe", "ubuntu", "172.24.0.2"},
		},
		{
			Says:    "It is put on the other network, too, while natlens watches.",
			Natlens: []string{"watch", "-t", "--events", "icmp"},
			Acts: []Act{
				{Typed: "docker network connect back_net ubuntu", Do: connects(backNet, "ubuntu"), Shown: 2},
				{Typed: "docker exec ubuntu ping -c 1 172.24.0.2", Do: pings("ubuntu", netip.MustParseAddr("172.24.0.2"), 1), Shown: 2},
			},
		},
		{
			Says:    "The way to everybody else has changed, too.",
			Natlens: []string{"probe", "ubuntu", ServerAddress.String()},
		},
	},
	Sentences: []string{
		"ubuntu's packet came as far as docker0. The host would forward it, for it knows both networks; a rule of Docker's drops it, which is made to keep networks apart.",
		"Connected to back_net, ubuntu has a second cable and a second address, eth1, and reaches back over the bridge without leaving it: no rule between networks is asked.",
		"Its default route goes by eth1 now: of a container's networks Docker takes the one for it whose name comes first, and back_net comes before bridge, which is what docker0 is called there.",
	},
}
