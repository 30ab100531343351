package lab

import "context"

var addresses = Scenario{
	Name:    "addresses",
	Title:   "addresses change with the order of start, names do not",
	Setting: "back and database are on back_net, started in this order. A small resolver stands in for the engine's.",
	Build: func(h *Host) error {
		b, err := h.NamedNetwork(backNet, backGateway)
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
		{Natlens: []string{"list"}},
		{
			Says:    "back asks for the database by name.",
			Natlens: []string{"watch", "-t", "udp"},
			Acts:    []Act{{Typed: "docker exec back ping -c 1 database", Do: pingsByName("back", "database"), Shown: 2}},
		},
		{
			Says: "Both are stopped, and started in the other order.",
			Acts: []Act{
				{Typed: "docker stop back database", Do: all(ends("back"), ends("database"))},
				{Typed: "docker start database", Do: startsOn(backNet, "database")},
				{Typed: "docker start back", Do: startsOn(backNet, "back")},
			},
		},
		{Natlens: []string{"list"}},
		{
			Natlens: []string{"watch", "-t", "udp"},
			Acts:    []Act{{Typed: "docker exec back ping -c 1 database", Do: pingsByName("back", "database"), Shown: 2}},
		},
	},
	Sentences: []string{
		"The engine gives each container that starts the next free address. Who starts first has 172.24.0.2, today this one, tomorrow that.",
		"A name is asked for each time, and its answer is the address of now. So configurations should hold names; an address in them is right until the next start.",
	},
}

// all plays acts one after the other.
func all(acts ...func(context.Context, *Host) error) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		for _, act := range acts {
			if err := act(ctx, h); err != nil {
				return err
			}
		}
		return nil
	}
}
