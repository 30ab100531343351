package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// socketHolder asks ss(8) which process has the socket of the host with these two
// ends.
func socketHolder(t *testing.T, e *engine.Engine, protocol, local, remote string) string {
	t.Helper()
	out, err := e.Command("ss", "-H", "-n", "-p", "--"+protocol, "-a").Output()
	if err != nil {
		t.Fatalf("ss: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 6 || strings.ReplaceAll(f[3], "%lo", "") != local || f[4] != remote {
			continue
		}
		if m := regexp.MustCompile(`"docker-proxy",pid=(\d+)`).FindStringSubmatch(line); m != nil {
			return m[1]
		}
	}
	t.Fatalf("ss knows no docker-proxy's socket %s > %s:\n%s", local, remote, out)
	return ""
}

// A connection that lives long enough is tied to its client's by the process that
// holds both sockets.
func TestCaseProxySockets(t *testing.T) {
	const port, udpPort = 18085, 18086
	e := engine.Shared(t)
	e.Run("--name", "web", "-p", fmt.Sprintf("%d:80", port), "-p", fmt.Sprintf("%d:81/udp", udpPort), "box")
	e.Run("--name", "asker", "box")
	l := &load{t: t, e: e}
	web := ipOf(t, e, "web", "bridge")
	l.answerTCP(e.Namespace("web"), 80)
	l.answerUDP(e.Namespace("web"), netip.AddrPortFrom(web, 81))
	gateway := e.Docker("inspect", "-f", "{{.NetworkSettings.Gateway}}", "web")
	asker := ipOf(t, e, "asker", "bridge").String()
	same(t, "userland_proxy", list(t, e).Engine.UserlandProxy, "on")
	early := 0
	backendPort := map[string]int{"tcp": 80, "udp": 81}
	file := filepath.Join(t.TempDir(), "sockets.pcapng")
	w := startWatch(t, e, "--json", "-w", file, "tcp or udp")
	for _, c := range []struct {
		what, protocol string
		in             *netns.Handle
		from           netip.AddrPort
		to             string
	}{
		{"localhost", "tcp", e.Host(), netip.MustParseAddrPort("127.0.0.1:42101"), fmt.Sprintf("127.0.0.1:%d", port)},
		{"localhost, IPv6 to IPv4", "tcp", e.Host(), netip.MustParseAddrPort("[::1]:42102"), fmt.Sprintf("[::1]:%d", port)},
		{"a neighbour by the host's port", "tcp", e.Namespace("asker"), netip.MustParseAddrPort(asker + ":42103"), fmt.Sprintf("%s:%d", gateway, port)},
		{"datagrams", "udp", e.Host(), netip.MustParseAddrPort("127.0.0.1:42104"), fmt.Sprintf("127.0.0.1:%d", udpPort)},
		{"datagrams, IPv6 to IPv4", "udp", e.Host(), netip.MustParseAddrPort("[::1]:42105"), fmt.Sprintf("[::1]:%d", udpPort)},
	} {
		dialer := net.Dialer{Timeout: 3 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(c.from)}
		if c.protocol == "udp" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(c.from)
		}
		var conn net.Conn
		// Given addresses, not names, net makes the socket on the calling thread.
		err := c.in.Do(func() (err error) {
			conn, err = dialer.Dial(c.protocol, c.to)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		if _, err := lab.Exchange(t.Context(), conn, l.words(40)); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		// It lives until its sockets were found, and says something now and then.
		var inner, opener *journey
		await(t, 30*time.Second, c.what+": evidence by sockets", func() bool {
			_, err := lab.Exchange(t.Context(), conn, l.words(40))
			l.must(err)
			for line := range strings.Lines(w.stdout.String()) {
				var j journey
				if !strings.HasSuffix(line, "\n") || !strings.Contains(line, `"proxied_as"`) {
					continue
				}
				decode(t, []byte(line), &j)
				if len(j.Translations) != 1 || j.Translations[0].Kind != "proxy" || j.Translations[0].Before.Source.Port != c.from.Port() {
					continue
				}
				if len(j.Notes) > 0 {
					opener = &j
				}
				if j.Translations[0].Evidence == "socket" {
					inner = &j
				}
			}
			return inner != nil && opener != nil
		})
		tr := inner.Translations[0]
		same(t, c.what+": client", tr.Before.Source.IP, c.from.Addr().String())
		same(t, c.what+": whom the container sees", tr.After.Source.IP, gateway)
		dialled := socketHolder(t, e, c.protocol, fmt.Sprintf("%s:%d", tr.After.Source.IP, tr.After.Source.Port), fmt.Sprintf("%s:%d", web, backendPort[c.protocol]))
		var took string
		if c.protocol == "tcp" {
			took = socketHolder(t, e, c.protocol, c.to, c.from.String())
		}
		if took != "" && took != dialled {
			t.Errorf("%s: ss says that process %s took it and %s dialled", c.what, took, dialled)
		}
		says(t, c.what, noteOf(opener), "why "+gateway+" and not "+c.from.Addr().String()+": docker-proxy")
		if opener.Translations[0].Evidence == "socket" { // it may have been told before the answer
			says(t, c.what, noteOf(opener), "process "+dialled+" holds both sockets")
			early++
		}
		l.must(conn.Close())
	}
	t.Logf("%d of 5 by sockets from the first packet on", early)
	w.end()
	// A file knows the sockets as well.
	count := func(lines string) int {
		return strings.Count(strings.ReplaceAll(lines, " ", ""), `"evidence":"socket"`)
	}
	if live, read := count(w.stdout.String()), count(tell(t, e, "read", "--json", file)); live != read || live == 0 {
		t.Errorf("%d packets by sockets, %d when read from the file", live, read)
	}
}
