package lab

var none = Scenario{
	Name:    "none",
	Title:   "a container without a network, with lo and nothing else",
	Setting: "A host with docker0, and nothing on it yet.",
	Build: func(h *Host) error {
		_, err := h.Network("docker0", BridgePrefix)
		return err
	},
	Steps: []Step{
		{
			Says: "A container is started on the network none.",
			Acts: []Act{{Typed: "docker run -d --network none --name isolated alpine sleep infinity", Do: startsIsolated("isolated")}},
		},
		{Natlens: []string{"list", "--all"}},
		{Natlens: []string{"explain", "isolated"}},
		{
			Says:    "It is asked to send something out.",
			Natlens: []string{"probe", "isolated", ServerAddress.String()},
		},
	},
	Sentences: []string{
		"isolated has a loopback and no other link: no veth came to the host, and docker0 has no port. There is no rule that keeps it in; there is no cable by which to leave.",
		"A published port would change nothing: a rule can lead to an address, and this container has none but 127.0.0.1, which each namespace has for itself.",
	},
}
