package lab

import (
	"net/netip"
)

// publishedPort is the port of the scenarios' web servers, on the host as in the
// container.
const publishedPort = 8000

var masquerade = Scenario{
	Name:  "masquerade",
	Title: "a ping out by NAT, and a page fetched from outside",
	Build: func(h *Host) error {
		docker0, err := h.Bridge("docker0", BridgePrefix)
		if err != nil {
			return err
		}
		back, err := h.Container("back", docker0)
		if err != nil {
			return err
		}
		if _, err := h.Container("database", docker0); err != nil {
			return err
		}
		if err := h.Masquerade(docker0); err != nil {
			return err
		}
		if err := h.Publish(publishedPort, back, publishedPort); err != nil {
			return err
		}
		return back.ServeHTTP(publishedPort, "hello from back\n")
	},
	Steps: []Step{{
		Natlens: []string{"watch", "-t", openings},
		Acts: []Act{
			{Typed: "docker exec back ping -c 2 " + ServerAddress.String(), Do: pings("back", ServerAddress, 2), Shown: 4},
			{Typed: "curl http://192.0.2.10:8000/", Do: fetches(InternetName, netip.AddrPortFrom(HostAddress, publishedPort)), Shown: 4},
		},
	}},
	Sentences: []string{
		"On the way out the host put its own address, 192.0.2.10, in the place of back's, which nobody else knows, and took it back out of each reply (masquerade).",
		"What came for port 8000 of 192.0.2.10 was sent on to port 8000 of back (a published port, DNAT), and the answers went out as the host's.",
		"The kernel chose at each flow's first packet and remembered it (conntrack).",
	},
}
