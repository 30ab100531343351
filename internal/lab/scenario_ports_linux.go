package lab

import "net/netip"

var ports = Scenario{
	Name:  "ports",
	Title: "published ports, from everywhere, and one that leads nowhere",
	Setting: "back and client are on docker0. Ports 8000 and 8001 of the host are published for back. " +
		"At 8000 a program listens on all addresses of back, at 8001 one on 127.0.0.1 only. " +
		"The engine has userland-proxy=false, so that rules do all.",
	Build: func(h *Host) error {
		if err := h.WithoutProxy(); err != nil {
			return err
		}
		docker0, err := h.Network("docker0", BridgePrefix)
		if err != nil {
			return err
		}
		back, err := h.Container("back", docker0)
		if err != nil {
			return err
		}
		if _, err := h.Container("client", docker0); err != nil {
			return err
		}
		for _, port := range []uint16{8000, 8001} {
			if err := h.Publish(port, back, port); err != nil {
				return err
			}
		}
		if err := back.ServeHTTP(8000, "hello from back\n"); err != nil {
			return err
		}
		return back.serveHTTP(netip.MustParseAddrPort("127.0.0.1:8001"), "hello from back to back\n")
	},
	Steps: []Step{
		{
			Says:    "From outside, from the host itself, and from the neighbour:",
			Natlens: []string{"watch", "-t", "tcp[tcpflags] & tcp-syn != 0"},
			Acts: []Act{
				{Typed: "curl http://192.0.2.10:8000/      # outside", Do: fetches(InternetName, netip.AddrPortFrom(HostAddress, 8000)), Shown: 2},
				{Typed: "curl http://127.0.0.1:8000/       # on the host", Do: fetches("host", netip.MustParseAddrPort("127.0.0.1:8000")), Shown: 2},
				{Typed: "docker exec client curl http://192.0.2.10:8000/", Do: fetches("client", netip.AddrPortFrom(HostAddress, 8000)), Shown: 2},
			},
		},
		{
			Says:    "The other port is published just the same.",
			Natlens: []string{"probe", InternetName, "192.0.2.10:8001"},
		},
	},
	Sentences: []string{
		"One rule makes all of it: what is for the host's port 8000 goes to 172.17.0.2:8000 instead (DNAT), wherever it comes from, and the answers are changed back.",
		"Port 8001 leads to back as well, but there nobody listens at 172.17.0.2:8001. 127.0.0.1 is another one in each namespace: that of back is reached from within back alone.",
	},
}
