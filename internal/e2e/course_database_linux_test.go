package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// postgres is what runs in the database's container.
const postgres = `#!/bin/sh
set -e
initdb -D /tmp/data -U postgres -A trust -E UTF8 --no-locale -N >/dev/null
echo 'host all all all trust' >>/tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories='' -c fsync=off
`

// openState is what conntrack(8) lists of a connection that one side may write to still,
// or of which an acknowledgement is missing.
var openState = regexp.MustCompile(` (SYN_SENT|SYN_RECV|ESTABLISHED|FIN_WAIT|CLOSE_WAIT|LAST_ACK) `)

// An application and its database: PostgreSQL, called by name. The question for the
// name, the connection, the query and its answer are journeys; the connection is one
// line of natlens flows.
func TestCourseDatabase(t *testing.T) {
	e := engine.Shared(t)
	servers, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(servers) == 0 {
		t.Skip("needs Debian package postgresql")
	}
	home := filepath.Dir(filepath.Dir(servers[0]))
	bin, version := filepath.Join(home, "bin"), filepath.Base(home)
	programs := []string{"bin/postgres", "bin/initdb", "bin/psql", "lib/dict_snowball.so", "lib/plpgsql.so"}
	for i := range programs {
		programs[i] = filepath.Join(home, programs[i])
	}
	e.Image("postgres", programs, []string{"/usr/share/postgresql/" + version},
		map[string]string{"bin/database": postgres, "etc/passwd": "postgres:x:1000:1000::/tmp:/bin/sh\n"})
	e.Network("--subnet", "172.28.4.0/24", "app_net")
	run := func(name string, args ...string) {
		e.Run(append([]string{"--name", name, "--network", "app_net", "--user", "1000", "-e", "TZ=UTC", "-e", "PATH=" + bin + ":/bin", "postgres"}, args...)...)
	}
	run("database", "/bin/sh", "/bin/database")
	run("app", "sleep", "1000000")
	query := func(sql string) (string, error) {
		out, err := e.Command("docker", "exec", "app", "psql", "-h", "database", "-U", "postgres", "-At", "-c", sql).Output()
		return strings.TrimSpace(string(out)), err
	}
	await(t, 30*time.Second, "PostgreSQL to answer", func() bool { _, err := query("create table people (name text)"); return err == nil })
	if _, err := query("insert into people values ('Ada')"); err != nil {
		t.Fatal(err)
	}
	app, database := ipOf(t, e, "app", "app_net"), ipOf(t, e, "database", "app_net")

	w, screen := startWatch(t, e, "--json"), startWatch(t, e, "port", "5432", "or", "udp")
	answer, err := query("select name from people")
	if err != nil || answer != "Ada" {
		t.Fatalf("%q, %v", answer, err)
	}
	// The server ends its side of the connection after psql is done.
	for _, tracks := range []func(string, ...string) *exec.Cmd{e.Command, inContainer(e, "app"), inContainer(e, "database")} {
		await(t, 20*time.Second, "the connection to end", func() bool {
			out, err := tracks("conntrack", "-L", "-p", "tcp", "--dport", "5432").Output()
			return err == nil && strings.Contains(string(out), " TIME_WAIT ") && !openState.Match(out)
		})
	}
	line := tell(t, e, "flows", "--all", "tcp", "port", "5432")
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	screen.end()
	t.Log(screen.stdout.String())
	t.Log(line)

	tcp := with(all, func(j *journey) bool {
		return j.Hops[0].TCP != nil && (j.Hops[0].Destination.Port == 5432 || j.Hops[0].Source.Port == 5432)
	})
	there, back := app.String()+" > "+database.String(), database.String()+" > "+app.String()
	a, d := vethOf(t, e, "app", "eth0"), vethOf(t, e, "database", "eth0")
	var asked, answered int
	for _, j := range tcp {
		s := story{from: "app", to: "database", end: "delivered at database:eth0 in", hops: []string{
			"app:eth0 out " + there, "host:" + a + " in " + there, "host:" + d + " out " + there, "database:eth0 in " + there}}
		if j.Hops[0].Source.Port == 5432 {
			s = story{from: "database", to: "app", end: "delivered at app:eth0 in", hops: []string{
				"database:eth0 out " + back, "host:" + d + " in " + back, "host:" + a + " out " + back, "app:eth0 in " + back}}
		}
		s.check(t, j.Info, j, nil)
		switch {
		case j.Hops[0].TCP.Flags == "SYN":
			says(t, "the connection", noteOf(j), "database was resolved to "+database.String()+" by the engine's DNS")
		case strings.Contains(j.Hops[0].TCP.Flags, "PSH") && s.from == "app":
			asked++
		case strings.Contains(j.Hops[0].TCP.Flags, "PSH"):
			answered++
		}
	}
	if asked == 0 || answered == 0 {
		t.Errorf("of %d packets %d ask and %d answer", len(tcp), asked, answered)
	}
	// Each namespace that tracks the connection has it once; the host's line comes
	// without a place.
	client := tcp[0].Hops[0].Source.Port
	for _, place := range []string{"", "  inside app", "  inside database"} {
		want := fmt.Sprintf("tcp   app:%d → database:5432%s   TIME_WAIT\n", client, place)
		same(t, "lines of flows: "+want, strings.Count(line, want), 1)
	}
}
