package lab

import (
	"context"
	"net/netip"
)

// databasePort is PostgreSQL's.
const databasePort = 5432

var database = Scenario{
	Name:    "database",
	Title:   "an application and its database, by name, over TCP 5432",
	Setting: "back and database are on back_net. The database is a stand-in, not PostgreSQL: it takes a line and answers with a line. So does the resolver stand in for the engine's.",
	Build: func(h *Host) error {
		b, err := h.NamedNetwork(backNet, backGateway)
		if err != nil {
			return err
		}
		if _, err := h.Container("back", b); err != nil {
			return err
		}
		c, err := h.Container("database", b)
		if err != nil {
			return err
		}
		return c.answerLines(databasePort, "1 row: Ada\n")
	},
	Steps: []Step{
		{
			Says:    "back connects, asks, and hangs up.",
			Natlens: []string{"watch", "-t", "udp or tcp port 5432"},
			Acts:    []Act{{Typed: "docker exec back psql -h database -c 'SELECT name FROM people'", Do: asksDatabase("back", "database", "SELECT name FROM people\n"), Shown: 12}},
		},
		{
			Says:    "The whole connection is a line, one for each namespace that tracks it:",
			Natlens: []string{"flows", "--all", "tcp", "port", "5432"},
		},
	},
	Sentences: []string{
		"The name was asked for once; then all packets went to the address over the bridge. Nothing was translated and nothing is published, so nobody outside can ask this database.",
		"Connection tracking still has an entry for it, in each namespace that the connection crosses.",
	},
}

// asksDatabase connects to a server by name, says a line and reads one.
func asksDatabase(from, name, line string) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error {
		ns, err := h.place(from)
		if err != nil {
			return err
		}
		a, err := Resolve(ctx, ns, name)
		if err != nil {
			return err
		}
		c, err := DialTCP(ctx, ns, netip.AddrPort{}, netip.AddrPortFrom(a, databasePort))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = Exchange(ctx, c, []byte(line))
		return err
	}
}
