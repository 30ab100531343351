package lab

var hostLinks = Scenario{
	Name:    "host",
	Title:   "what a Docker host has, and what comes with a container",
	Setting: "A host with Docker and no container yet.",
	Build: func(h *Host) error {
		_, err := h.Network("docker0", BridgePrefix)
		return err
	},
	Steps: []Step{
		{
			Says:    "Before any container runs:",
			Natlens: []string{"list", "--all"},
		},
		{
			Says:    "A container is started while natlens watches.",
			Natlens: []string{"watch", "-t", "--events", "icmp"},
			Acts:    []Act{{Typed: "docker run -d --name back alpine sleep infinity", Do: startsOn("docker0", "back"), Shown: 2}},
		},
		{
			Says:    "Afterwards:",
			Natlens: []string{"list", "--all"},
		},
		{Natlens: []string{"explain", "back"}},
	},
	Sentences: []string{
		"Without containers a host has three links: lo, where it talks to itself; eth0, the way out; and docker0, a bridge, which is a switch without a cable in it, and therefore down.",
		"A container brings its own namespace with an eth0 of its own. That is one end of a veth, a cable with two ends; the other end is on the host and plugged into docker0.",
	},
}
