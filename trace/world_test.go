package trace

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
)

// The world of these tests: a host with two containers on docker0, behind an
// uplink whose other end is not watched.
const (
	hostNS, backNS, baseNS netns.ID = 1, 2, 3

	lo, uplink, bridge, vethBack, vethBase = 1, 2, 3, 4, 5
	eth0                                   = 6
)

var (
	backIP     = netip.MustParseAddr("172.17.0.2")
	baseIP     = netip.MustParseAddr("172.17.0.3")
	gatewayIP  = netip.MustParseAddr("172.17.0.1")
	hostIP     = netip.MustParseAddr("192.0.2.10")
	internetIP = netip.MustParseAddr("198.51.100.7")
)

func world() *netinfo.Topology {
	key := func(ns netns.ID, i int32) netinfo.LinkKey { return netinfo.LinkKey{Namespace: ns, Index: i} }
	master := key(hostNS, bridge)
	addr := func(a netip.Addr, bits int) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, bits)} }
	host := &netinfo.Namespace{ID: hostNS, Name: "host", Links: []*netinfo.Link{
		{Key: key(hostNS, lo), Name: "lo", Kind: "loopback", Role: netinfo.RoleLoopback},
		{Key: key(hostNS, uplink), Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, Addresses: addr(hostIP, 24)},
		{Key: master, Name: "docker0", Kind: "bridge", Role: netinfo.RoleBridge, Addresses: addr(gatewayIP, 16)},
		{Key: key(hostNS, vethBack), Name: "vethback", Kind: "veth", Role: netinfo.RoleVeth, Master: &master,
			Peer: &netinfo.Peer{Key: key(backNS, eth0), Name: "eth0"}},
		{Key: key(hostNS, vethBase), Name: "vethbase", Kind: "veth", Role: netinfo.RoleVeth, Master: &master,
			Peer: &netinfo.Peer{Key: key(baseNS, eth0), Name: "eth0"}},
	}}
	t := &netinfo.Topology{Number: 1, Time: time.Unix(0, 1), Self: hostNS, Namespaces: []*netinfo.Namespace{host}}
	for _, c := range []struct {
		ns   netns.ID
		name string
		ip   netip.Addr
		veth int32
	}{{backNS, "back", backIP, vethBack}, {baseNS, "database", baseIP, vethBase}} {
		container := &netinfo.Container{Namespace: c.ns, Proof: "mac"}
		container.Name = c.name
		n := &netinfo.Namespace{ID: c.ns, Name: c.name, Containers: []*netinfo.Container{container},
			Links: []*netinfo.Link{{Key: key(c.ns, eth0), Name: "eth0", Kind: "veth", Role: netinfo.RoleVeth, Addresses: addr(c.ip, 16),
				Peer: &netinfo.Peer{Key: key(hostNS, c.veth), Name: "veth"}}}}
		t.Namespaces = append(t.Namespaces, n)
		t.Containers = append(t.Containers, container)
	}
	return t.Seal()
}

// stage feeds a Correlator and collects what it says.
type stage struct {
	t        *testing.T
	c        *Correlator
	now      int64
	journeys []*Journey
	batch    []capture.Observation
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, now: 1_000_000_000_000}
	s.c = New(1024, Sink{Journey: func(j *Journey) { s.journeys = append(s.journeys, j) }})
	s.c.SetTopology(world())
	s.c.AwaitFlows()
	for _, ns := range []netns.ID{hostNS, backNS, baseNS} {
		s.c.Watch(ns, 1)
	}
	return s
}

// at is an observation point in the world.
type at struct {
	ns   netns.ID
	link int32
	typ  capture.PacketType
}

var (
	backOut   = at{backNS, eth0, capture.Outgoing}
	backIn    = at{backNS, eth0, capture.Host}
	baseOut   = at{baseNS, eth0, capture.Outgoing}
	baseIn    = at{baseNS, eth0, capture.Host}
	vethIn    = at{hostNS, vethBack, capture.OtherHost}
	vethOut   = at{hostNS, vethBack, capture.Outgoing}
	baseVIn   = at{hostNS, vethBase, capture.OtherHost}
	baseVOut  = at{hostNS, vethBase, capture.Outgoing}
	bridgeIn  = at{hostNS, bridge, capture.Host}
	bridgeOut = at{hostNS, bridge, capture.Outgoing}
	uplinkIn  = at{hostNS, uplink, capture.Host}
	uplinkOut = at{hostNS, uplink, capture.Outgoing}
)

// see adds a sighting, a microsecond after the one before.
func (s *stage) see(where at, frame []byte) {
	s.now += 1000
	o := capture.Observation{Time: s.now, Namespace: where.ns, Ifindex: where.link, Type: where.typ,
		WireLength: uint32(len(frame)), Data: frame}
	o.Headers.Parse(packet.Ethernet, frame, uint32(len(frame)))
	o.Fingerprint = packet.Fingerprint(&o.Headers, frame)
	s.batch = append(s.batch, o)
}

// flow tells of a conntrack entry, as if it came right now.
func (s *stage) flow(kind netfilter.EventKind, f netfilter.Flow) {
	if f.Namespace == 0 {
		f.Namespace = hostNS
	}
	s.c.AddFlows(&netfilter.Batch{Namespace: f.Namespace, Events: []netfilter.Event{
		{Kind: kind, Flow: f, After: s.now - 1e6, Before: s.now + 1e6}}})
}

// pass delivers what was seen and lets time pass.
func (s *stage) pass(d time.Duration) {
	s.now += int64(d)
	s.c.AddFlows(&netfilter.Batch{Through: s.now})
	s.c.Observe(&capture.Batch{Observations: s.batch, Through: s.now})
	s.batch = nil
}

// frame serialises layers behind an Ethernet and an IPv4 header.
func frame(t *testing.T, source, destination netip.Addr, id uint16, ttl uint8, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: ttl, Id: id, SrcIP: source.AsSlice(), DstIP: destination.AsSlice()}
	for _, l := range ls {
		switch l := l.(type) {
		case *layers.ICMPv4:
			ip.Protocol = layers.IPProtocolICMPv4
		case *layers.UDP:
			ip.Protocol = layers.IPProtocolUDP
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
		case *layers.TCP:
			ip.Protocol = layers.IPProtocolTCP
			if err := l.SetNetworkLayerForChecksum(ip); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		EthernetType: layers.EthernetTypeIPv4}, ip}, ls...)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ping is an echo request (or reply) whose IP ID is its sequence number.
func ping(t *testing.T, source, destination netip.Addr, id, seq uint16, reply bool) []byte {
	typ := uint8(layers.ICMPv4TypeEchoRequest)
	if reply {
		typ = layers.ICMPv4TypeEchoReply
	}
	return frame(t, source, destination, seq, 64, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: id, Seq: seq},
		gopacket.Payload("0123456789abcdef0123456789abcdef"))
}

func udp(t *testing.T, source, destination netip.AddrPort, id uint16, payload string) []byte {
	return frame(t, source.Addr(), destination.Addr(), id, 64,
		&layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(destination.Port())}, gopacket.Payload(payload))
}

func echoTuple(source, destination netip.Addr, id uint16, reply bool) packet.Tuple {
	typ := uint16(8)
	if reply {
		typ = 0
	}
	return packet.NewTuple(packet.ICMP, source, destination, id, typ<<8)
}

// oneRule is a Ruleset of a namespace with a rule for each IP that drops, or rejects,
// what is of that protocol at a hook. Frames that bridges pass on are shown to it.
func oneRule(t *testing.T, ns netns.ID, hook netfilter.Hook, protocol packet.Protocol, verdict netfilter.Verdict) *netfilter.Ruleset {
	t.Helper()
	ends := `{"n": "immediate", "h": [false, true], "v": {"Code": 0}}`
	if verdict == netfilter.Rejected {
		ends = `{"n": "reject"}`
	}
	chain, r := strings.ToUpper(string(hook)), &netfilter.Ruleset{}
	rule := func(family string) string {
		return fmt.Sprintf(`{"Family": %q, "Name": "filter", "Xtables": true, "Chains": [{"Name": %q, "Base": true, "Type": "filter", "Hook": %q, "Policy": 1, "Rules": [
			{"Ref": {"Backend": "iptables-nft", "Family": %q, "Table": "filter", "Chain": %q, "Position": 1, "Handle": 7}, "Expressions": [
				{"n": "meta", "k": 16, "r": [0, 1], "h": [false, true]}, {"n": "cmp", "r": [1, 0], "h": [true, false], "d": %q}, {"n": "counter"}, %s]}]}]}`,
			family, chain, hook, family, chain, base64.StdEncoding.EncodeToString([]byte{byte(protocol)}), ends)
	}
	if err := json.Unmarshal(fmt.Appendf(nil, `{"Namespace": %d, "Time": 1, "Whole": true, "Bridged": [2, 2], "Base": [[0, 0], [1, 0]], "Tables": [%s, %s]}`,
		ns, rule("ip"), rule("ip6")), r); err != nil {
		t.Fatal(err)
	}
	return r
}
