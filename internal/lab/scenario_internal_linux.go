package lab

import (
	"context"
	"net/netip"
)

var internal = Scenario{
	Name:    "internal",
	Title:   "an internal network: its containers reach each other and nothing else",
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
		{Says: "To the neighbour, and out:", Natlens: []string{"probe", "back", "database"}},
		{Natlens: []string{"probe", "back", ServerAddress.String()}},
		{
			Says: "Somebody gives back the route that it lacks.",
			Acts: []Act{{Typed: "nsenter --net=/run/netns/back ip route add default via 172.25.0.1", Do: givesRoute}},
		},
		{Natlens: []string{"probe", "back", ServerAddress.String()}},
	},
	Sentences: []string{
		"back has no default route, so its packet did not even begin its way.",
		"And where somebody adds one, a rule drops what comes from br-vault for any other network. Two locks: one inside, one on the host.",
	},
}

func givesRoute(_ context.Context, h *Host) error {
	c := h.Find("back")
	return c.node.defaultRoute(c.Bridge.Gateway.Addr())
}
