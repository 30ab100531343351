package lab

import (
	"context"
	"fmt"
	"net/netip"
)

// Scenario is a small story: a host, and traffic that shows one thing about
// it. Build makes the host complete, servers included, without sending
// anything; between Build and Play an observer can take its place. Both are
// called once each, on a Host fresh from New.
type Scenario struct {
	Name  string // one word, for a command line
	Title string // one line
	Build func(*Host) error
	Play  func(context.Context, *Host) error
	// Sentences say what happened, to somebody who saw the packets.
	Sentences [3]string
}

// Scenarios are all there are; the first is the one to start with.
func Scenarios() []Scenario { return []Scenario{masquerade} }

// publishedPort is the port of the masquerade scenario's web server, on the
// host as in the container.
const publishedPort = 8000

var masquerade = Scenario{
	Name:  "masquerade",
	Title: "a container pings the internet, and the internet fetches from a published port",
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
	Play: func(ctx context.Context, h *Host) error {
		back := h.Find("back")
		for seq := range uint16(2) {
			// The payload's size is ping's, so that lengths look familiar.
			e := Echo{ID: 0x4e4c, Seq: seq + 1, Payload: make([]byte, 56)}
			if _, err := Ping(ctx, back.Namespace(), ServerAddress, e); err != nil {
				return err
			}
		}
		published := netip.AddrPortFrom(HostAddress, publishedPort)
		if _, err := Get(ctx, h.Internet(), published); err != nil {
			return fmt.Errorf("fetch from the internet: %w", err)
		}
		return nil
	},
	Sentences: [3]string{
		"back has an address that only this host knows, so on the way out the host put its own, 192.0.2.10, in its place, and took it back out of each reply (masquerade).",
		"The internet knows only the host, so what came for port 8000 of 192.0.2.10 was sent on to back's port 8000 (a published port, DNAT), and the answers went out as the host's.",
		"The kernel chose once for each flow, at its first packet, and remembered it (conntrack); every later packet was changed by that memory, not by a rule.",
	},
}
