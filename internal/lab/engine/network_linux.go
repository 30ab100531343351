package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"natlens/internal/lab"
	"natlens/netinfo/netns"
)

func namespacePath(name string) string { return filepath.Join("/run/netns", name) }

// makeNetwork makes the host's namespace, the internet's, and the uplink.
func (d *daemon) makeNetwork() error {
	host, inet := d.name+hostSuffix, d.name+internetSuffix
	for _, line := range []string{
		"netns add " + host,
		"netns add " + inet,
		"-n " + host + " link add eth0 type veth peer name eth0 netns " + inet,
		"-n " + host + " link set lo up",
		"-n " + inet + " link set lo up",
		"-n " + host + " addr add " + lab.HostAddress.String() + "/24 dev eth0",
		"-n " + inet + " addr add " + lab.GatewayAddress.String() + "/24 dev eth0",
		"-n " + inet + " addr add " + lab.ServerAddress.String() + "/32 dev lo",
		"-n " + host + " link set eth0 up",
		"-n " + inet + " link set eth0 up",
		"-n " + host + " route add default via " + lab.GatewayAddress.String(),
	} {
		if err := ip(line); err != nil {
			return err
		}
	}
	var err error
	if d.host, err = netns.Open(namespacePath(host)); err != nil {
		return err
	}
	if d.internet, err = netns.Open(namespacePath(inet)); err != nil {
		return err
	}
	for _, ns := range []*netns.Handle{d.host, d.internet} {
		if err := ns.Do(limitPorts); err != nil {
			return err
		}
	}
	return nil
}

// chosenPorts are those that the kernel chooses from. Tests that name a port name another:
// one that was chosen may be taken for a minute after its connection ended (TIME_WAIT).
const chosenPorts = "46000 60999"

func limitPorts() error {
	return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte(chosenPorts), 0)
}

func ip(line string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}
