package lab

import "net/netip"

var hostNetwork = Scenario{
	Name:    "host-network",
	Title:   "a container on the host's own network, without veth and NAT",
	Setting: "A host with docker0. The container web was started with --network host, so it has no network namespace of its own: its programs stand where the host's do. It listens at port 80.",
	Build: func(h *Host) error {
		if _, err := h.Network("docker0", BridgePrefix); err != nil {
			return err
		}
		return h.ServeHTTP(80, "hello from web\n")
	},
	Steps: []Step{
		{Natlens: []string{"list"}},
		{
			Natlens: []string{"watch", "-t", openings},
			Acts: []Act{
				{Typed: "docker exec web ping -c 1 " + ServerAddress.String(), Do: pings("host", ServerAddress, 1), Shown: 2},
				{Typed: "curl http://192.0.2.10/     # from the internet", Do: fetches(InternetName, netip.AddrPortFrom(HostAddress, 80)), Shown: 4},
			},
		},
	},
	Sentences: []string{
		"There is one hop and no translation: web's packets leave by the host's eth0 with the host's address, because they are the host's packets.",
		"So nothing is published either: port 80 of web is port 80 of the host, and a second container that wants it finds it taken.",
		"Here nothing tells web's packets from the host's. On a Docker host natlens names the container where a socket proves that it is the sender.",
	},
}
