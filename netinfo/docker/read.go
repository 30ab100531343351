package docker

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// parallelInspections bounds the requests under way at once: an engine with
// hundreds of containers is not to be flooded.
const parallelInspections = 8

// details are the parts of a container that only an inspection tells.
type details struct {
	pid        int
	mode       string
	sandboxKey string
	endpoints  []Endpoint
}

// Inventory asks the engine for its running containers and its networks.
// A container that ends meanwhile is left out. Errors match ErrSlow when one
// answer took too long. While Watch runs, only containers that changed are
// inspected again.
func (c *Client) Inventory(ctx context.Context) (*Inventory, error) {
	inv := &Inventory{}
	var err error
	if inv.Engine, err = c.describe(ctx); err != nil {
		return nil, err
	}
	// Containers before networks: a network that is made in between is missed
	// until its event comes, but no endpoint names a network that is unknown.
	var containers client.ContainerListResult
	err = c.call(ctx, "list containers of", func(ctx context.Context) error {
		var err error
		containers, err = c.api.ContainerList(ctx, client.ContainerListOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	var networks client.NetworkListResult
	err = c.call(ctx, "list networks of", func(ctx context.Context) error {
		var err error
		networks, err = c.api.NetworkList(ctx, client.NetworkListOptions{})
		return err
	})
	if err != nil {
		return nil, err
	}
	if inv.Containers, err = c.containers(ctx, containers.Items); err != nil {
		return nil, err
	}
	for _, n := range networks.Items {
		r := newNetwork(n.Network)
		if strings.Contains(inv.Engine.Name, "Podman") {
			asPodman(&r)
		}
		inv.Networks = append(inv.Networks, r)
	}
	slices.SortFunc(inv.Networks, func(a, b Network) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return inv, nil
}

// describe asks once what the engine is; it changes only with a restart, which
// Watch notices.
func (c *Client) describe(ctx context.Context) (Engine, error) {
	c.mu.Lock()
	known := c.engine
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	var version client.ServerVersionResult
	err := c.call(ctx, "ask version of", func(ctx context.Context) error {
		var err error
		version, err = c.api.ServerVersion(ctx, client.ServerVersionOptions{})
		return err
	})
	if err != nil {
		return Engine{}, err
	}
	var info client.SystemInfoResult
	err = c.call(ctx, "ask", func(ctx context.Context) error {
		var err error
		info, err = c.api.Info(ctx, client.InfoOptions{})
		return err
	})
	if err != nil {
		return Engine{}, err
	}
	e := Engine{
		Name:            "Docker Engine",
		Version:         version.Version,
		APIVersion:      version.APIVersion,
		Host:            c.host,
		OSType:          cmp.Or(info.Info.OSType, version.Os),
		OperatingSystem: info.Info.OperatingSystem,
		Hostname:        info.Info.Name,
		KernelVersion:   info.Info.KernelVersion,
	}
	for _, part := range version.Components {
		if strings.Contains(part.Name, "Podman") {
			e.Name = part.Name
		}
	}
	for _, option := range info.Info.SecurityOptions {
		if slices.Contains(strings.Split(option, ","), "name=rootless") {
			e.Rootless = true
		}
	}
	c.mu.Lock()
	c.engine = &e
	c.mu.Unlock()
	return e, nil
}

// containers completes a list of containers by inspecting those not yet known.
func (c *Client) containers(ctx context.Context, list []container.Summary) ([]Container, error) {
	known, generation := c.remembered()
	type answer struct {
		details
		gone bool
		err  error
	}
	answers := make([]answer, len(list))
	var wait sync.WaitGroup
	places := make(chan struct{}, parallelInspections)
	for i, s := range list {
		if d, ok := known[s.ID]; ok {
			answers[i].details = d
			continue
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			a := &answers[i]
			a.err = c.call(ctx, "inspect container of", func(ctx context.Context) error {
				r, err := c.api.ContainerInspect(ctx, s.ID, client.ContainerInspectOptions{})
				switch {
				case err == nil && r.Container.State != nil && !r.Container.State.Running,
					errdefs.IsNotFound(err), errdefs.IsConflict(err):
					a.gone = true
					return nil
				case err != nil:
					return err
				}
				a.details = newDetails(r.Container, s)
				return nil
			})
		})
	}
	wait.Wait()

	kept := make(map[string]details, len(list))
	containers := make([]Container, 0, len(list))
	for i, s := range list {
		a := answers[i]
		if a.err != nil {
			return nil, a.err
		}
		if a.gone {
			continue
		}
		kept[s.ID] = a.details
		containers = append(containers, newContainer(s, a.details))
	}
	c.remember(kept, generation)
	slices.SortFunc(containers, func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return containers, nil
}

func newDetails(r container.InspectResponse, s container.Summary) details {
	d := details{mode: s.HostConfig.NetworkMode}
	if r.State != nil {
		d.pid = r.State.Pid
	}
	if r.HostConfig != nil && r.HostConfig.NetworkMode != "" {
		d.mode = string(r.HostConfig.NetworkMode)
	}
	// "default" is what the command line sends when no --network is given.
	if d.mode == "default" {
		d.mode = "bridge"
	}
	var networks map[string]*network.EndpointSettings
	switch {
	case r.NetworkSettings != nil:
		d.sandboxKey = r.NetworkSettings.SandboxKey
		networks = r.NetworkSettings.Networks
	case s.NetworkSettings != nil:
		networks = s.NetworkSettings.Networks
	}
	for name, e := range networks {
		if e != nil {
			d.endpoints = append(d.endpoints, newEndpoint(name, e))
		}
	}
	slices.SortFunc(d.endpoints, func(a, b Endpoint) int { return cmp.Compare(a.Network, b.Network) })
	return d
}

func newEndpoint(name string, e *network.EndpointSettings) Endpoint {
	p := Endpoint{Network: name, NetworkID: e.NetworkID, Aliases: e.Aliases}
	if len(e.MacAddress) > 0 {
		p.MAC = net.HardwareAddr(e.MacAddress).String()
	}
	for _, a := range []struct {
		addr netip.Addr
		bits int
	}{{e.IPAddress, e.IPPrefixLen}, {e.GlobalIPv6Address, e.GlobalIPv6PrefixLen}} {
		if !a.addr.IsValid() || a.addr.IsUnspecified() {
			continue
		}
		prefix, err := a.addr.Unmap().Prefix(a.bits)
		if err != nil || a.bits == 0 {
			prefix = netip.PrefixFrom(a.addr.Unmap(), a.addr.Unmap().BitLen())
		}
		p.Addresses = append(p.Addresses, netip.PrefixFrom(a.addr.Unmap(), prefix.Bits()))
	}
	for _, g := range []netip.Addr{e.Gateway, e.IPv6Gateway} {
		if g.IsValid() && !g.IsUnspecified() {
			p.Gateways = append(p.Gateways, g.Unmap())
		}
	}
	return p
}

func newContainer(s container.Summary, d details) Container {
	c := Container{
		ID: s.ID, Image: s.Image, PID: d.pid, Labels: s.Labels,
		Mode: d.mode, SandboxKey: d.sandboxKey, Endpoints: d.endpoints,
	}
	// Legacy links add names of the form /other/alias.
	for _, name := range s.Names {
		name = strings.TrimPrefix(name, "/")
		if !strings.Contains(name, "/") {
			c.Name = name
			break
		}
	}
	if c.Name == "" {
		c.Name = s.ID[:min(12, len(s.ID))]
	}
	for _, p := range s.Ports {
		port := Port{Protocol: strings.ToLower(p.Type), ContainerPort: p.PrivatePort}
		if p.PublicPort != 0 {
			host := p.IP.Unmap()
			// Podman leaves the address empty for "all".
			if !host.IsValid() {
				host = netip.IPv4Unspecified()
			}
			port.HostAddress = netip.AddrPortFrom(host, p.PublicPort)
		}
		c.Ports = append(c.Ports, port)
	}
	slices.SortFunc(c.Ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.ContainerPort, b.ContainerPort), cmp.Compare(a.Protocol, b.Protocol),
			a.HostAddress.Compare(b.HostAddress))
	})
	c.Ports = slices.Compact(c.Ports)
	return c
}
