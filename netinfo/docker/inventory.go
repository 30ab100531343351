// Package docker asks a container engine what it runs: containers, networks,
// published ports. Docker's Engine API and Podman's compatible service both
// answer it.
package docker

import "net/netip"

// Inventory is what one engine said at one moment. It is immutable.
type Inventory struct {
	Engine     Engine
	Containers []Container // running ones, sorted by name
	Networks   []Network   // sorted by name
}

// Engine is the engine that was asked.
type Engine struct {
	Name       string // "Docker Engine", "Podman Engine"
	Version    string
	APIVersion string
	Host       string // address it was reached at, as in DOCKER_HOST
	OSType     string // "linux"
	Rootless   bool

	OperatingSystem string // of the engine's host: "Debian GNU/Linux 12 (bookworm)", "Docker Desktop"
	Hostname        string // of the engine's host
	KernelVersion   string // of the engine's host

	// Unasked: nobody answered. What is known of it was found beside it.
	Unasked bool
}

// Container is one running container.
type Container struct {
	ID     string // 64 hexadecimal digits
	Name   string // without the leading slash
	Image  string
	PID    int               // of its first process, in the engine's process namespace; 0 unknown
	Labels map[string]string // compose project and service, among others
	// Mode is the network mode as the engine keeps it: "bridge", "none",
	// "host", "container:ID", or a network's name.
	Mode       string
	SandboxKey string // path of the engine's bind mount of its namespace; may be empty
	Endpoints  []Endpoint
	Ports      []Port
	// Unasked: its engine was not asked, and what only that tells (labels, aliases)
	// is not known. Nor are its ports, when PortsUnknown says so.
	Unasked, PortsUnknown bool
}

// Endpoint is a container's place on one network.
type Endpoint struct {
	Network   string         // name
	NetworkID string         // as the engine gives it: Podman gives the name
	MAC       string         // lower case, colons; empty when not connected
	Addresses []netip.Prefix // IPv4 first
	Gateways  []netip.Addr
	Aliases   []string
}

// Port is one port of a container, published on the host or only exposed.
type Port struct {
	Protocol      string         // tcp, udp, sctp
	ContainerPort uint16         // where the application should listen
	HostAddress   netip.AddrPort // invalid when the port is only exposed
}

// Network is one network of the engine.
type Network struct {
	ID, Name, Driver string
	Bridge           string // the Linux bridge's name; empty for other drivers, or when the engine does not say
	Internal         bool
	IPv6             bool
	Masquerade       bool   // the driver option, on by default for bridges
	ICC              bool   // inter-container communication, on by default
	Parent           string // macvlan and ipvlan: the parent link
	Subnets          []Subnet
	Options          map[string]string
	// Unasked: it is from a file; its engine was not asked.
	Unasked bool
}

// Subnet is one address pool of a network.
type Subnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr // may be invalid
}
