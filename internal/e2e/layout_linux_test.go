package e2e

import (
	"slices"
	"strings"
	"testing"

	"natlens/internal/lab/engine"
)

// The rules of NAT that the engine makes for docker0 are those that the lab's host
// imitates: with docker-proxy, what comes from the bridge itself is kept from the
// rules of published ports; without, it meets them, and what the host's own programs
// send there is masqueraded.
func TestEngineNATLayout(t *testing.T) {
	for proxy, want := range map[string][]string{
		"true":  {"-A DOCKER -i docker0 -j RETURN", "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.17.0.2:8000"},
		"false": {"-A DOCKER -p tcp -m tcp --dport 8000 -j DNAT --to-destination 172.17.0.2:8000"},
	} {
		t.Run("userland-proxy="+proxy, func(t *testing.T) {
			e := engine.Start(t, "--userland-proxy="+proxy)
			e.Run("--name", "back", "-p", "8000:8000", "box")
			out, err := e.Command("iptables-save", "-t", "nat").Output()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "-A DOCKER ") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			const local = "-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE"
			if has := strings.Contains(string(out), local); has != (proxy == "false") {
				t.Errorf("%s: %v", local, has)
			}
		})
	}
}
