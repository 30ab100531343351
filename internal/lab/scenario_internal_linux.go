package lab

import "net/netip"

var internal = Scenario{
	Name:    "internal",
	Title:   "an internal network, whose containers reach each other alone",
	Setting: "back and database are on vault, 172.25.0.0/16, made with --internal. docker0 is there, too, and empty.",
	Build: func(h *Host) error {
		if _, err := h.Network("docker0", BridgePrefix); err != nil {
			return err
		}
		b, err := h.InternalNetwork("br-vault", netip.MustParsePrefix("172.25.0.1/16"))
		if err != nil {
			return err
		}
		for _, name := range []string{"back", "database"} {
			if _, err := h.Container(name, b); err != nil {
				return err
			}
		}
		return nil
	},
	Steps: []Step{
		{Says: "To the neighbour:", Natlens: []string{"probe", "back", "database"}},
		{Says: "Out:", Natlens: []string{"probe", "back", ServerAddress.String()}},
		{Says: "From the host in:", Natlens: []string{"probe", "host", "database"}},
	},
	Sentences: []string{
		"back has a default route, and the host would forward its packet. A rule drops what comes from br-vault for any other network, and another one what goes there from elsewhere; and nothing is masqueraded.",
		"Those rules are about what crosses the host. The host itself is on the bridge and reaches everybody there.",
	},
}
