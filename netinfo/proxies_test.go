package netinfo

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"natlens/netinfo/docker"
)

func TestParseProxy(t *testing.T) {
	for line, want := range map[string]Proxy{
		"/usr/sbin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80": {
			Protocol: "tcp", Listen: netip.MustParseAddrPort("0.0.0.0:8080"), Backend: netip.MustParseAddrPort("172.17.0.2:80")},
		// IPv6 outside, IPv4 inside.
		"/usr/bin/docker-proxy -proto udp -host-ip :: -host-port 53 -container-ip 172.17.0.2 -container-port 5353": {
			Protocol: "udp", Listen: netip.MustParseAddrPort("[::]:53"), Backend: netip.MustParseAddrPort("172.17.0.2:5353")},
		// Newer engines hand the socket over, and write flags otherwise.
		"docker-proxy --host-ip=127.0.0.1 --host-port=1 --container-ip=fd00::2 --container-port=2 -use-listen-fd": {
			Protocol: "tcp", Listen: netip.MustParseAddrPort("127.0.0.1:1"), Backend: netip.MustParseAddrPort("[fd00::2]:2")},
		"docker-proxy -use-listen-fd -proto sctp -host-ip 10.0.0.1 -host-port 9 -container-ip 10.1.0.2 -container-port 9": {
			Protocol: "sctp", Listen: netip.MustParseAddrPort("10.0.0.1:9"), Backend: netip.MustParseAddrPort("10.1.0.2:9")},
	} {
		if got, ok := parseProxy([]byte(strings.ReplaceAll(line, " ", "\x00") + "\x00")); !ok || got != want {
			t.Errorf("%s\n got %+v %v\nwant %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{
		"", "docker-proxy", "dockerd -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 80",
		"docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2",
		"docker-proxy -host-ip x -host-port 80 -container-ip 172.17.0.2 -container-port 80",
		"docker-proxy -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port 65536",
		"docker-proxy -host-ip 0.0.0.0 -host-port 80 -container-ip 172.17.0.2 -container-port",
	} {
		if got, ok := parseProxy([]byte(strings.ReplaceAll(line, " ", "\x00"))); ok {
			t.Errorf("%q is taken for %+v", line, got)
		}
	}
}

func TestProxyAccepts(t *testing.T) {
	for _, c := range []struct {
		listen, to string
		port       uint16
		want       bool
	}{
		{"0.0.0.0:80", "192.0.2.10", 80, true},
		{"0.0.0.0:80", "192.0.2.10", 81, false},
		{"0.0.0.0:80", "::1", 80, false},
		{"[::]:80", "::1", 80, true},
		{"[::]:80", "127.0.0.1", 80, false},
		{"127.0.0.1:80", "127.0.0.1", 80, true},
		{"127.0.0.1:80", "192.0.2.10", 80, false},
	} {
		p := Proxy{Listen: netip.MustParseAddrPort(c.listen)}
		if got := p.Accepts(netip.MustParseAddr(c.to), c.port); got != c.want {
			t.Errorf("a proxy at %s accepts for %s port %d: %v, want %v", c.listen, c.to, c.port, got, c.want)
		}
	}
}

// What the engine does not say, its processes do: for ports that are published here.
func TestUserlandProxy(t *testing.T) {
	port := func(host string) docker.Port {
		p := docker.Port{Protocol: "tcp", ContainerPort: 80}
		if host != "" {
			p.HostAddress = netip.MustParseAddrPort(host)
		}
		return p
	}
	proxy := func(protocol, listen string) Proxy {
		return Proxy{PID: 7, Namespace: hostNS, Protocol: protocol, Listen: netip.MustParseAddrPort(listen), Backend: netip.MustParseAddrPort("172.17.0.2:80")}
	}
	elsewhere := proxy("tcp", "0.0.0.0:8080")
	elsewhere.Namespace = 99
	for _, c := range []struct {
		what    string
		port    docker.Port
		proxies []Proxy
		change  func(*hostFacts)
		want    string
	}{
		{"a proxy", port("0.0.0.0:8080"), []Proxy{proxy("tcp", "0.0.0.0:8080")}, nil, "on"},
		{"none", port("0.0.0.0:8080"), nil, nil, "off"},
		{"another port's", port("0.0.0.0:8080"), []Proxy{proxy("tcp", "0.0.0.0:8081"), proxy("udp", "0.0.0.0:8080")}, nil, "off"},
		{"another engine's", port("0.0.0.0:8080"), []Proxy{elsewhere}, nil, "off"},
		{"nothing published", port(""), nil, nil, ""},
		{"processes that can't be seen", port("0.0.0.0:8080"), nil, func(f *hostFacts) { f.blind = true }, ""},
		{"rootless", port("0.0.0.0:8080"), nil, func(f *hostFacts) { f.inventory.Engine.Rootless = true }, ""},
		{"Podman", port("0.0.0.0:8080"), nil, func(f *hostFacts) { f.inventory.Engine.Name = "Podman Engine" }, ""},
	} {
		f := dockerHost()
		f.inventory.Containers[0].Ports, f.proxies = []docker.Port{c.port}, c.proxies
		if c.change != nil {
			c.change(f)
		}
		if got := assemble(f, time.Time{}).Engine.UserlandProxy; got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func FuzzParseProxy(f *testing.F) {
	f.Add([]byte("docker-proxy\x00-proto\x00tcp\x00-host-ip\x000.0.0.0\x00-host-port\x0080\x00-container-ip\x00172.17.0.2\x00-container-port\x0080\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if p, ok := parseProxy(line); ok && (p.Listen.Port() == 0 || p.Backend.Port() == 0 || !p.Backend.IsValid()) {
			t.Errorf("%q gives %+v", line, p)
		}
	})
}
