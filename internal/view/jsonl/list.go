package jsonl

import (
	"net/netip"

	"natlens/netinfo"
)

type listing struct {
	header
	Time       string          `json:"time,omitempty"`
	Engine     *engine         `json:"engine,omitempty"`
	Namespaces []namespace     `json:"namespaces"`
	Links      []link          `json:"links"`
	Containers []container     `json:"containers"`
	Networks   []engineNetwork `json:"networks"`
	Notes      []note          `json:"notes"`
}

type engine struct {
	Name          string `json:"name,omitempty"`
	Version       string `json:"version,omitempty"`
	APIVersion    string `json:"api_version,omitempty"`
	Host          string `json:"host,omitempty"`
	Rootless      bool   `json:"rootless"`
	UserlandProxy string `json:"userland_proxy,omitempty"`
	Elsewhere     string `json:"elsewhere,omitempty"`
	Unasked       bool   `json:"unasked,omitempty"`
}

type namespace struct {
	Name       string   `json:"name"`
	Inode      uint64   `json:"inode"`
	NameFrom   string   `json:"name_from,omitempty"`
	Paths      []string `json:"paths"`
	PIDs       []int    `json:"pids"`
	Containers []string `json:"containers"`
	Unreadable string   `json:"unreadable,omitempty"`
}

type link struct {
	Name           string   `json:"name"`
	Namespace      string   `json:"namespace,omitempty"`
	NamespaceInode uint64   `json:"namespace_inode"`
	Index          int32    `json:"index"`
	Kind           string   `json:"kind,omitempty"`
	Role           string   `json:"role,omitempty"`
	MAC            string   `json:"mac,omitempty"`
	Addresses      []string `json:"addresses"`
	MTU            int      `json:"mtu,omitempty"`
	State          string   `json:"state,omitempty"`
	Master         string   `json:"master,omitempty"`
	Parent         *linkRef `json:"parent,omitempty"`
	Peer           *linkRef `json:"peer,omitempty"`
	Containers     []string `json:"containers"`
	Network        string   `json:"network,omitempty"`
}

// linkRef names another link.
type linkRef struct {
	Namespace      string   `json:"namespace,omitempty"`
	NamespaceInode uint64   `json:"namespace_inode,omitempty"`
	Name           string   `json:"name,omitempty"`
	Index          int32    `json:"index"`
	Containers     []string `json:"containers"`
}

type container struct {
	ID             string       `json:"id"`
	Name           string       `json:"name"`
	Image          string       `json:"image,omitempty"`
	Project        string       `json:"project,omitempty"`
	Service        string       `json:"service,omitempty"`
	PID            int          `json:"pid,omitempty"`
	Namespace      string       `json:"namespace,omitempty"`
	NamespaceInode uint64       `json:"namespace_inode,omitempty"`
	Proof          string       `json:"proof,omitempty"`
	Mode           string       `json:"mode,omitempty"`
	Networks       []attachment `json:"networks"`
	Ports          []port       `json:"ports"`
	PortsUnknown   bool         `json:"ports_unknown,omitempty"`
	Unasked        bool         `json:"unasked,omitempty"`
}

// attachment is a container's place on one network.
type attachment struct {
	Name      string   `json:"name"`
	ID        string   `json:"id,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"`
	Gateways  []string `json:"gateways"`
}

type port struct {
	Protocol      string  `json:"protocol"`
	ContainerPort uint16  `json:"container_port"`
	HostIP        string  `json:"host_ip,omitempty"`
	HostPort      *uint16 `json:"host_port,omitempty"`
}

type engineNetwork struct {
	Name       string   `json:"name"`
	ID         string   `json:"id"`
	Driver     string   `json:"driver,omitempty"`
	Bridge     string   `json:"bridge,omitempty"`
	Parent     string   `json:"parent,omitempty"`
	Internal   bool     `json:"internal"`
	Subnets    []string `json:"subnets"`
	Gateway    string   `json:"gateway,omitempty"`
	Containers []string `json:"containers"`
}

type note struct {
	About string `json:"about,omitempty"`
	Text  string `json:"text"`
}

// List writes a whole Topology, kind "list". t must not be nil.
func List(t *netinfo.Topology) ([]byte, error) {
	x := listing{
		header:     kind("list"),
		Namespaces: []namespace{}, Links: []link{}, Containers: []container{}, Networks: []engineNetwork{}, Notes: []note{},
	}
	if !t.Time.IsZero() {
		x.Time = stamp(t.Time.UnixNano())
	}
	if e := t.Engine; e != nil {
		x.Engine = &engine{
			Name: e.Name, Version: e.Version, APIVersion: e.APIVersion, Host: e.Host, Rootless: e.Rootless,
			UserlandProxy: e.UserlandProxy, Elsewhere: e.Elsewhere, Unasked: e.Unasked,
		}
	}
	for _, n := range t.Namespaces {
		x.Namespaces = append(x.Namespaces, newNamespace(n))
		for _, l := range n.Links {
			x.Links = append(x.Links, newLink(t, n, l))
		}
	}
	for _, c := range t.Containers {
		x.Containers = append(x.Containers, newContainer(t, c))
	}
	for _, n := range t.Networks {
		x.Networks = append(x.Networks, newNetwork(t, n))
	}
	for _, n := range t.Notes {
		x.Notes = append(x.Notes, note{About: n.About, Text: n.Text})
	}
	return line(x)
}

func newNamespace(n *netinfo.Namespace) namespace {
	x := namespace{
		Name: n.Name, Inode: uint64(n.ID), NameFrom: n.NameFrom, Paths: list(n.Paths), PIDs: list(n.PIDs),
		Containers: names(n.Containers),
	}
	if n.Unreadable != nil {
		x.Unreadable = n.Unreadable.Error()
	}
	return x
}

func newLink(t *netinfo.Topology, n *netinfo.Namespace, l *netinfo.Link) link {
	x := link{
		Name: l.Name, Namespace: n.Name, NamespaceInode: uint64(n.ID), Index: l.Key.Index, Kind: l.Kind,
		Role: string(l.Role), MAC: l.MAC, Addresses: texts(l.Addresses), MTU: l.MTU, State: l.State,
		Containers: names(n.Containers), Network: l.Network,
	}
	if l.Master != nil {
		if m := t.Link(*l.Master); m != nil {
			x.Master = m.Name
		}
	}
	if l.Parent != nil {
		x.Parent = newLinkRef(t, *l.Parent, "")
	}
	if l.Peer != nil {
		x.Peer = newLinkRef(t, l.Peer.Key, l.Peer.Name)
	}
	return x
}

// newLinkRef names the link k. name is what it is called where the Topology
// does not hold it.
func newLinkRef(t *netinfo.Topology, k netinfo.LinkKey, name string) *linkRef {
	x := &linkRef{NamespaceInode: uint64(k.Namespace), Name: name, Index: k.Index, Containers: []string{}}
	if n := t.Namespace(k.Namespace); n != nil {
		x.Namespace, x.Containers = n.Name, names(n.Containers)
	}
	if l := t.Link(k); l != nil {
		x.Name = l.Name
	}
	return x
}

func newContainer(t *netinfo.Topology, c *netinfo.Container) container {
	x := container{
		ID: c.ID, Name: c.Name, Image: c.Image, PID: c.PID, Namespace: namespaceName(t, c.Namespace),
		NamespaceInode: uint64(c.Namespace), Proof: c.Proof, Mode: c.Mode,
		Networks: []attachment{}, Ports: []port{}, PortsUnknown: c.PortsUnknown, Unasked: c.Unasked,
	}
	x.Project, x.Service = c.Compose()
	for _, e := range c.Endpoints {
		x.Networks = append(x.Networks, attachment{
			Name: e.Network, ID: e.NetworkID, MAC: e.MAC, Addresses: texts(e.Addresses), Gateways: texts(e.Gateways),
		})
	}
	for _, p := range c.Ports {
		published := port{Protocol: p.Protocol, ContainerPort: p.ContainerPort}
		if p.HostAddress.IsValid() {
			n := p.HostAddress.Port()
			published.HostIP, published.HostPort = p.HostAddress.Addr().String(), &n
		}
		x.Ports = append(x.Ports, published)
	}
	return x
}

func newNetwork(t *netinfo.Topology, n *netinfo.Network) engineNetwork {
	x := engineNetwork{
		Name: n.Name, ID: n.ID, Driver: n.Driver, Bridge: n.Bridge, Parent: n.Parent, Internal: n.Internal,
		Subnets: []string{}, Containers: []string{},
	}
	for _, s := range n.Subnets {
		if s.Prefix.IsValid() {
			x.Subnets = append(x.Subnets, s.Prefix.String())
		}
		if x.Gateway == "" {
			x.Gateway = ipText(t.Gateway(n, s))
		}
	}
	for _, m := range n.Members {
		x.Containers = append(x.Containers, m.Container.Name)
	}
	return x
}

func names(cs []*netinfo.Container) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.Name
	}
	return out
}

// texts writes addresses or prefixes, leaving out invalid ones.
func texts[T netip.Addr | netip.Prefix](all []T) []string {
	out := []string{}
	for _, a := range all {
		if v, ok := any(a).(interface {
			IsValid() bool
			String() string
		}); ok && v.IsValid() {
			out = append(out, v.String())
		}
	}
	return out
}
