package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/internal/view/jsonl/jsonltest"
)

// flowTold is the part of a line of natlens flows --json that tests look at.
type flowTold struct {
	Kind, Event     string
	ID              uint64
	Namespace       string
	Original, Reply struct {
		Protocol            string
		Source, Destination address
	}
	From, To     oracletest.Endpoint
	Translations []oracletest.Translation
	TCPState     string `json:"tcp_state"`
	Start        string
	Counters     *struct {
		Original, Reply struct{ Packets, Bytes uint64 }
	}
	Proxy *struct {
		PID         int
		Dials       bool
		Other, Name string
	}
}

func flowsTold(t *testing.T, printed string) (all []flowTold) {
	t.Helper()
	for line := range strings.Lines(printed) {
		jsonltest.Validate(t, []byte(line))
		var f flowTold
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// conversations opens connections that stay: out through masquerade, in to the
// published port, and to the same by docker-proxy.
func conversations(t *testing.T, e *engine.Engine) (out, in net.Conn) {
	t.Helper()
	e.Run("--name", "back", "-p", "8000:8000", "box", "httpd", "-f", "-p", "8000", "-h", "/www")
	away, err := lab.ListenTCP(e.Internet(), netip.AddrPortFrom(internet, 80))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { away.Close() })
	dial := func(name string, f func(ctx context.Context) (*net.TCPConn, error)) net.Conn {
		var c net.Conn
		await(t, 20*time.Second, name, func() bool {
			got, err := f(t.Context())
			if err == nil {
				c = got
			}
			return err == nil
		})
		t.Cleanup(func() { c.Close() })
		return c
	}
	out = dial("a connection out", func(ctx context.Context) (*net.TCPConn, error) {
		return lab.DialTCP(ctx, e.Namespace("back"), netip.AddrPort{}, netip.AddrPortFrom(internet, 80))
	})
	in = dial("a connection in", func(ctx context.Context) (*net.TCPConn, error) {
		return lab.DialTCP(ctx, e.Internet(), netip.AddrPort{}, netip.AddrPortFrom(hostAddress, 8000))
	})
	// What is closed stays in the table for a while.
	if _, err := lab.Get(t.Context(), e.Host(), netip.MustParseAddrPort("127.0.0.1:8000")); err != nil {
		t.Fatal(err)
	}
	return out, in
}

// TestFlowsAreWhatConntrackLists holds natlens flows against conntrack -L: the same
// entries with the same tuples, and those that are translated by default.
func TestFlowsAreWhatConntrackLists(t *testing.T) {
	e := engine.Shared(t)
	conversations(t, e)
	list := func() []oracletest.Entry {
		out, err := e.Command("conntrack", "-L", "-o", "id").Output()
		if err != nil {
			t.Fatal(err)
		}
		return oracletest.Entries(t, string(out))
	}
	for _, all := range []bool{false, true} {
		args := []string{"flows", "--json"}
		if all {
			args = append(args, "--all")
		}
		before := list()
		printed, said, status := finish(t, e.Command(natlens, args...))
		after := list()
		if status != 0 {
			t.Fatalf("status %d: %s", status, said)
		}
		told := map[uint64]flowTold{}
		for _, f := range flowsTold(t, printed) {
			if f.Namespace == "host" {
				told[f.ID] = f
			}
		}
		translated := 0
		for _, want := range after {
			if !slices.ContainsFunc(before, func(b oracletest.Entry) bool { return b.ID == want.ID && b.Original == want.Original }) {
				continue // it came meanwhile
			}
			nat := want.Original[0] != want.Reply[1] || want.Original[1] != want.Reply[0]
			got, there := told[want.ID]
			if !there {
				if nat || all {
					t.Errorf("conntrack lists %+v, natlens does not", want)
				}
				continue
			}
			if nat {
				translated++
			}
			if nat != (len(got.Translations) > 0) || !nat && !all && got.Proxy == nil {
				t.Errorf("%+v is told with translations %+v", want, got.Translations)
			}
			tuples := [2][2]address{{got.Original.Source, got.Original.Destination}, {got.Reply.Source, got.Reply.Destination}}
			if tuples != [2][2]address{want.Original, want.Reply} || want.Protocol != "unknown" && got.Original.Protocol != want.Protocol {
				t.Errorf("flow %d: %v, conntrack has %+v", want.ID, tuples, want)
			}
		}
		for id, f := range told {
			known := func(list []oracletest.Entry) bool {
				return slices.ContainsFunc(list, func(w oracletest.Entry) bool { return w.ID == id })
			}
			if !known(before) && !known(after) {
				t.Errorf("natlens tells of %+v, conntrack does not", f)
			}
		}
		if translated < 2 {
			t.Errorf("%d translated flows: the test shows less than it should", translated)
		}
	}
}

// TestWhoIsBehind asks for the owner of an address and port of the host's, live,
// by docker-proxy, and from a file.
func TestWhoIsBehind(t *testing.T) {
	e := engine.Shared(t)
	file := t.TempDir() + "/flows.pcapng"
	w := startWatch(t, e, "-w", file)
	out, in := conversations(t, e)
	port := out.LocalAddr().(*net.TCPAddr).Port
	outside := fmt.Sprintf("%v:%d", hostAddress, port)
	ask := func(args ...string) (string, string) {
		t.Helper()
		printed, said, status := finish(t, e.Command(natlens, append([]string{"flows"}, args...)...))
		if status != 0 {
			t.Fatalf("natlens flows %v: status %d: %s", args, status, said)
		}
		return printed, said
	}
	printed, said := ask(outside)
	for _, want := range []string{
		fmt.Sprintf("tcp   back:%d → ", port), "ESTABLISHED", "original 172.17.0.", "reply ", "⇒ source 172.17.0.",
		"becomes " + hostAddress.String() + "  MASQUERADE  [conntrack ", "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("nothing says %q:\n%s", want, printed)
		}
	}
	if strings.Count(printed, "original") != 1 || !strings.Contains(said, "1 of ") {
		t.Errorf("not one flow:\n%s%s", printed, said)
	}
	if printed, _ = ask("-n", outside); strings.Contains(printed, "back") || !strings.Contains(printed, "tcp   172.17.0.") {
		t.Errorf("-n tells names:\n%s", printed)
	}

	all, _ := ask("--json", "port", "8000", "and", "container", "back")
	kinds := map[string]int{}
	for _, f := range flowsTold(t, all) {
		switch {
		case f.From.IP == in.LocalAddr().(*net.TCPAddr).IP.String() && len(f.Translations) == 1:
			tr := f.Translations[0]
			if tr.Kind != "dnat" || tr.Rule == nil || !strings.Contains(tr.Rule.Text, "--to-destination 172.17.0.") || f.To.Name != "back" {
				t.Errorf("published: %+v", f)
			}
			kinds["published"]++
		case f.Proxy != nil && f.Proxy.Dials:
			if f.To.Name != "back" || f.Proxy.Other != "0.0.0.0:8000" || f.Proxy.PID == 0 {
				t.Errorf("the proxy's own: %+v", f)
			}
			kinds["dials"]++
		}
	}
	if kinds["published"] == 0 || kinds["dials"] == 0 {
		t.Errorf("flows %v in\n%s", kinds, all)
	}
	proxied, _ := ask("127.0.0.1:8000")
	if words := strings.Join(strings.Fields(proxied), " "); !strings.Contains(words, "took it: a connection of its own leads to back (172.17.0.") {
		t.Errorf("the accepted one:\n%s", proxied)
	}

	time.Sleep(1500 * time.Millisecond) // the file says once a second up to when it is complete
	w.end()
	fromFile, _ := ask("--read", file, outside)
	if !strings.Contains(fromFile, fmt.Sprintf("tcp   back:%d → ", port)) || !strings.Contains(fromFile, "MASQUERADE") {
		t.Errorf("from the file:\n%s", fromFile)
	}
}

// TestFlowsAreFollowed sees a flow begin and end.
func TestFlowsAreFollowed(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box", "sleep", "1000000")
	cmd := e.Command(natlens, "flows", "-f", "icmp", "and", "container", "back")
	out, said := &safeBuffer{}, &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	await(t, 20*time.Second, "the table", func() bool { return strings.Contains(said.String(), "flows shown") })
	if _, err := lab.Ping(t.Context(), e.Namespace("back"), internet, lab.Echo{ID: 4711, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	await(t, 20*time.Second, "the new flow", func() bool { return strings.Contains(out.String(), " new ") })
	if drop, err := e.Command("conntrack", "-D", "-p", "icmp").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, drop)
	}
	await(t, 20*time.Second, "its end", func() bool { return strings.Contains(out.String(), " ended ") })
	for _, want := range []string{"icmp  back → ", "MASQUERADE", "id 4711"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q:\n%s", want, out)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("natlens flows -f: %v: %s", err, said)
	}
}

// TestFlowsOfNobody: a name that nothing has is a mistake, unless flows goes on; the
// name of a container without a flow is none.
func TestFlowsOfNobody(t *testing.T) {
	e := engine.Shared(t)
	e.Network("quiet_net")
	e.Run("--name", "idle", "--network", "quiet_net", "box", "sleep", "1000000")
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"latecomer"}, 2, `natlens: flows: no container is called "latecomer"; natlens list containers shows what is`},
		{[]string{"icmp", "and", "not", "idl"}, 2, `no container is called "idl"; near matches: idle`},
		{[]string{"quiet_net"}, 2, `no container is called "quiet_net", but a network is: say network quiet_net`},
		{[]string{"network", "quiet"}, 2, `no network is called "quiet"; near matches: quiet_net`},
		{[]string{"idle"}, 0, "0 of "},
		{[]string{"network", "quiet_net"}, 0, "0 of "},
		{[]string{e.Docker("inspect", "-f", "{{.Id}}", "idle")[:8]}, 0, "0 of "},
	} {
		printed, said, status := finish(t, e.Command(natlens, append([]string{"flows"}, c.args...)...))
		if status != c.status || printed != "" || !strings.Contains(said, c.says) {
			t.Errorf("natlens flows %v: status %d, want %d and %q:\n%s%s", c.args, status, c.status, c.says, printed, said)
		}
	}
	cmd := e.Command(natlens, "flows", "-f", "latecomer")
	out, said := &safeBuffer{}, &safeBuffer{}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	await(t, 20*time.Second, "the table", func() bool {
		return strings.Contains(said.String(), `no container "latecomer" yet; waiting for one`) && strings.Contains(said.String(), "flows shown")
	})
	e.Run("--name", "latecomer", "box", "sleep", "1000000")
	in := e.Namespace("latecomer")
	id := uint16(4712)
	await(t, 20*time.Second, "a flow of latecomer", func() bool {
		id++ // one that began before the container was known has no name
		if _, err := lab.Ping(t.Context(), in, internet, lab.Echo{ID: id, Seq: 1}); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(out.String(), "latecomer → ")
	})
}
