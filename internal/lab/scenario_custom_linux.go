package lab

var custom = Scenario{
	Name:    "custom",
	Title:   "a network of one's own, where names resolve",
	Setting: "back and client are on the network back_net, 172.24.0.0/16, whose bridge is called br-back_net here. A small resolver stands in for the engine's; the rules that lead to it are the engine's.",
	Build: func(h *Host) error {
		b, err := h.NamedNetwork(backNet, backGateway)
		if err != nil {
			return err
		}
		back, err := h.Container("back", b)
		if err != nil {
			return err
		}
		if _, err := h.Container("client", b); err != nil {
			return err
		}
		return back.ServeHTTP(publishedPort, "hello from back\n")
	},
	Steps: []Step{
		{
			Says:    "The client asks for back by name.",
			Natlens: []string{"watch", "-t", "udp or tcp[tcpflags] & tcp-syn != 0"},
			Acts:    []Act{{Typed: "docker exec client curl http://back:8000/", Do: fetchesByName("client", "back", publishedPort), Shown: 4}},
		},
	},
	Sentences: []string{
		"client asked 127.0.0.11, an address of its own loopback. A rule in its own namespace led the question to the resolver's port; no tap sees port 53 there, because the rule is before the first one.",
		"The answer is an address, and the connection goes to that address over the bridge, without any translation. The resolver knows who is on back_net, and nobody else.",
	},
}
