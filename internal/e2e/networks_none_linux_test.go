package e2e

import (
	"strings"
	"testing"

	"natlens/internal/lab/engine"
)

// TestExplainNetworksWithoutBridge: none, host and macvlan, each told as pings and
// the engine have it.
func TestExplainNetworksWithoutBridge(t *testing.T) {
	e := engine.Shared(t)
	e.Network("-d", "macvlan", "--subnet", "192.0.2.0/24", "--gateway", "192.0.2.1", "-o", "parent=eth0", "wire")
	e.Run("--name", "hermit", "--network", "none", "-p", "8000:8000", "box")
	e.Run("--name", "lodger", "--network", "host", "box")
	e.Run("--name", "wired1", "--network", "wire", "--ip", "192.0.2.61", "box")
	e.Run("--name", "wired2", "--network", "wire", "--ip", "192.0.2.62", "box")
	explain := func(network string) string {
		out, _, status := finish(t, e.Command(natlens, "explain", network))
		same(t, "status", status, 0)
		return strings.Join(strings.Fields(out), " ")
	}
	ping := func(to string) []string { return []string{"-n", "-c", "1", "-W", "1", to} }

	says(t, "none", explain("none"), "Used by: hermit.", "nobody reaches it and it reaches nobody", "NOT veth9")
	same(t, "that hermit reaches its gateway", e.CommandIn("hermit", "ping", ping("172.17.0.1")...).Run() == nil, false)
	same(t, "ports of hermit", e.Docker("port", "hermit"), "")
	says(t, "host", explain("host"), "On the host's own network, without any of this: lodger.")

	wire := explain("wire")
	says(t, "wire", wire, "wired1 192.0.2.61", "wired2 192.0.2.62", "on the network behind eth0", "each asks 127.0.0.11")
	const apart = "The host itself and they do not reach each other by eth0"
	same(t, "that the host is kept apart", strings.Contains(wire, apart), e.Command("ping", ping("192.0.2.61")...).Run() != nil)
	same(t, "that they reach each other", e.CommandIn("wired1", "ping", ping("192.0.2.62")...).Run() == nil, true)
	same(t, "that the outside reaches them", strings.Contains(wire, "reaches every port at the container's own address"),
		e.CommandOutside("ping", ping("192.0.2.61")...).Run() == nil)
	same(t, "that they resolve", resolves(e, "wired1", "wired2"), true)
}

// TestExplainGraphs: the graphs are of what the engine has.
func TestExplainGraphs(t *testing.T) {
	e := engine.Shared(t)
	e.Network("painted")
	e.Run("--name", "easel", "--network", "painted", "-p", "8042:80", "box")
	for _, flag := range []string{"--dot", "--mermaid"} {
		out, _, status := finish(t, e.Command(natlens, "explain", flag, "painted", "bridge"))
		same(t, "status", status, 0)
		says(t, flag, out, "easel", "port 8042/tcp", "network painted", "docker0", "masquerade to 192.0.2.10", "isolated")
		whole, _, status := finish(t, e.Command(natlens, "explain", flag))
		same(t, "status", status, 0)
		says(t, flag, whole, "easel", "docker0", "eth0")
	}
}
