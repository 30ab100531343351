package trace

import (
	"math/rand/v2"
	"net/netip"
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

// load is a busy host: containers behind masquerade that talk with the internet,
// each packet seen at four points, as eth0 of the container, its veth, docker0
// and the uplink are. Batches come as rings deliver them: 20 ms of the host's
// ring, then those of the containers one by one, and stamps within one ring are
// not quite in order.
type load struct {
	*Correlator
	random *rand.Rand
	flows  []*loadFlow
	rings  [][]capture.Observation // by namespace, the host's first
	batch  []capture.Observation
	now    int64
	count  uint64 // packets so far
	begun  uint32 // connections so far
	// measure reads a clock, in nanoseconds; spent is what the Correlator took
	// by it.
	measure func() int64
	spent   int64
}

const (
	loadContainers = 16
	loadUplink     = 2
	loadBridge     = 3
	firstVeth      = 10
	firstContainer = 100
)

// loadWorld is a host whose bridge has many ports.
func loadWorld() *netinfo.Topology {
	key := func(ns netns.ID, i int32) netinfo.LinkKey { return netinfo.LinkKey{Namespace: ns, Index: i} }
	addr := func(a netip.Addr, bits int) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, bits)} }
	master := key(hostNS, loadBridge)
	host := &netinfo.Namespace{ID: hostNS, Name: "host", Links: []*netinfo.Link{
		{Key: key(hostNS, loadUplink), Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, Addresses: addr(hostIP, 24)},
		{Key: master, Name: "docker0", Kind: "bridge", Role: netinfo.RoleBridge, Addresses: addr(gatewayIP, 16)},
	}}
	t := &netinfo.Topology{Number: 1, Time: time.Unix(0, 1), Self: hostNS, Namespaces: []*netinfo.Namespace{host}}
	for i := range loadContainers {
		ns, veth := netns.ID(firstContainer+i), int32(firstVeth+i)
		host.Links = append(host.Links, &netinfo.Link{Key: key(hostNS, veth), Name: "veth", Kind: "veth", Role: netinfo.RoleVeth,
			Master: &master, Peer: &netinfo.Peer{Key: key(ns, eth0), Name: "eth0"}})
		container := &netinfo.Container{Namespace: ns, Proof: "mac"}
		container.Name = "c" + string(rune('a'+i))
		t.Containers = append(t.Containers, container)
		t.Namespaces = append(t.Namespaces, &netinfo.Namespace{ID: ns, Name: container.Name, Containers: []*netinfo.Container{container},
			Links: []*netinfo.Link{{Key: key(ns, eth0), Name: "eth0", Kind: "veth", Role: netinfo.RoleVeth, Addresses: addr(loadAddress(i), 16),
				Peer: &netinfo.Peer{Key: key(hostNS, veth), Name: "veth"}}}})
	}
	return t.Seal()
}

func loadAddress(container int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 17, 1, byte(2 + container)})
}

func newLoad(open, connections int, sink Sink) *load {
	l := &load{
		Correlator: New(open, sink), random: rand.New(rand.NewPCG(1, 2)), now: 1e12,
		rings: make([][]capture.Observation, 1+loadContainers), measure: func() int64 { return 0 },
	}
	l.SetTopology(loadWorld())
	l.AwaitFlows()
	l.Watch(hostNS, 1)
	for i := range loadContainers {
		l.Watch(netns.ID(firstContainer+i), 1)
	}
	kinds := [...]packet.Protocol{packet.UDP, packet.TCP, packet.TCP, packet.ICMP}
	for i := range connections {
		f := &loadFlow{container: i % loadContainers, protocol: kinds[(i+i/loadContainers)%len(kinds)]}
		l.begin(f, netfilter.Known)
		l.flows = append(l.flows, f)
	}
	return l
}

// loadFlow is one connection of a container.
type loadFlow struct {
	container     int
	protocol      packet.Protocol
	entry         netfilter.Flow
	packets       [2]uint32
	inside, after [2]capture.Observation // its packets before and behind the uplink, asking and answering
}

// begin makes f a new connection.
func (l *load) begin(f *loadFlow, kind netfilter.EventKind) {
	l.begun++
	port, near := uint16(1024+l.begun%60000), loadAddress(f.container)
	far := netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + l.begun%200)})
	f.entry = netfilter.Flow{
		ID: l.begun, Namespace: hostNS,
		Original: packet.NewTuple(f.protocol, near, far, port, 443), Reply: packet.NewTuple(f.protocol, far, hostIP, 443, port),
	}
	if f.protocol == packet.ICMP {
		f.entry.Original, f.entry.Reply = echoTuple(near, far, port, false), echoTuple(far, hostIP, port, true)
	}
	f.packets = [2]uint32{}
	f.inside = [2]capture.Observation{observe(f.frame(near, far, 0, 64)), observe(f.frame(far, near, 0, 64))}
	f.after = [2]capture.Observation{observe(f.frame(hostIP, far, 0, 64)), observe(f.frame(far, hostIP, 0, 64))}
	l.tell(f, kind)
}

// tell says what became of a connection, as conntrack would.
func (l *load) tell(f *loadFlow, kind netfilter.EventKind) {
	l.AddFlows(&netfilter.Batch{Namespace: hostNS, Events: []netfilter.Event{{Kind: kind, Flow: f.entry, After: l.now, Before: l.now + 1}}})
}

// frame is one packet of the connection.
func (f *loadFlow) frame(from, to netip.Addr, id uint16, size int) []byte {
	t, data := new(testing.T), string(make([]byte, size))
	near, far := f.entry.Original.SourcePort, f.entry.Original.DestinationPort
	if from == f.entry.Original.Destination() {
		near, far = far, near
	}
	switch f.protocol {
	case packet.TCP:
		tcp := &layers.TCP{SrcPort: layers.TCPPort(near), DstPort: layers.TCPPort(far), ACK: true, Window: 512}
		return frame(t, from, to, id, 64, tcp, gopacket.Payload(data))
	case packet.ICMP:
		return ping(t, from, to, f.entry.Original.SourcePort, id, from == f.entry.Original.Destination())
	}
	return udp(t, netip.AddrPortFrom(from, near), netip.AddrPortFrom(to, far), id, data)
}

// observe makes an observation of a frame; when and where is to be filled in.
func observe(frame []byte) capture.Observation {
	o := capture.Observation{Data: frame, WireLength: uint32(len(frame))}
	o.Headers.Parse(packet.Ethernet, frame, o.WireLength)
	o.Fingerprint = packet.Fingerprint(&o.Headers, frame)
	return o
}

// see puts a packet into the ring that gets it.
func (l *load) see(after int64, where at, o *capture.Observation) {
	ring := &l.rings[0]
	if where.ns != hostNS {
		ring = &l.rings[1+where.ns-firstContainer]
	}
	*ring = append(*ring, *o)
	seen := &(*ring)[len(*ring)-1]
	seen.Time, seen.Namespace, seen.Ifindex, seen.Type = l.now+after, where.ns, where.link, where.typ
}

// pass lets the next packet of a connection pass.
func (l *load) pass(f *loadFlow) {
	l.count++
	l.now += 20e3 + l.random.Int64N(120e3) // 12 500 packets a second
	way := int(l.count % 2)
	inside, outside := f.inside[way], f.after[way]
	for _, o := range []*capture.Observation{&inside, &outside} {
		o.Fingerprint = l.count*0x9e3779b97f4a7c15 | 1
		o.Headers.IPID = uint16(l.count)
		if f.protocol == packet.TCP {
			o.Headers.TCPSeq = f.packets[way] * o.Headers.PayloadLength
		}
	}
	f.packets[way]++
	// One buffer has one stamp, but not with TCP.
	again := int64(0)
	if f.protocol == packet.TCP {
		again = 700
	}
	container, veth := netns.ID(firstContainer+f.container), int32(firstVeth+f.container)
	if way == 0 {
		l.see(0, at{container, eth0, capture.Outgoing}, &inside)
		l.see(4000, at{hostNS, veth, capture.OtherHost}, &inside)
		l.see(4000+again, at{hostNS, loadBridge, capture.Host}, &inside)
		l.see(40e3, at{hostNS, loadUplink, capture.Outgoing}, &outside)
		return
	}
	l.see(0, at{hostNS, loadUplink, capture.Host}, &outside)
	l.see(30e3, at{hostNS, loadBridge, capture.Outgoing}, &inside)
	l.see(30e3+again, at{hostNS, veth, capture.Outgoing}, &inside)
	l.see(34e3, at{container, eth0, capture.Host}, &inside)
}

// passInPieces lets a datagram pass that is whole at docker0 alone.
func (l *load) passInPieces(f *loadFlow) {
	l.count++
	l.now += 80e3
	id, o := uint16(l.count|1), f.entry.Original
	inside, outside := f.frame(o.Source(), o.Destination(), id, 1000), f.frame(hostIP, o.Destination(), id, 1000)
	container, veth := netns.ID(firstContainer+f.container), int32(firstVeth+f.container)
	whole := observe(inside)
	for i, piece := range cut(inside, 800) {
		p := observe(piece)
		l.see(int64(i)*500, at{container, eth0, capture.Outgoing}, &p)
		l.see(4000+int64(i)*500, at{hostNS, veth, capture.OtherHost}, &p)
	}
	l.see(10e3, at{hostNS, loadBridge, capture.Host}, &whole)
	for i, piece := range cut(outside, 800) {
		p := observe(piece)
		l.see(40e3+int64(i)*500, at{hostNS, loadUplink, capture.Outgoing}, &p)
	}
}

// lose lets a packet begin that no other point sees.
func (l *load) lose(f *loadFlow) {
	l.count++
	l.now += 10e3
	o := f.inside[0]
	o.Fingerprint, o.Headers.IPID = l.count*0x9e3779b97f4a7c15|1, uint16(l.count)
	l.see(0, at{netns.ID(firstContainer + f.container), eth0, capture.Outgoing}, &o)
}

// deliver hands over what the rings hold, and returns how many observations.
// Only the Correlator's own time counts.
func (l *load) deliver() int {
	l.batch = l.batch[:0]
	for i, ring := range l.rings {
		l.batch = append(l.batch, ring...)
		l.rings[i] = ring[:0]
	}
	l.now += 100e3
	begun := l.measure()
	l.AddFlows(&netfilter.Batch{Through: l.now})
	l.Observe(&capture.Batch{Observations: l.batch, Through: l.now})
	l.spent += l.measure() - begun
	return len(l.batch)
}

// perTurn is how many packets pass in about 20 ms.
const perTurn = 250

// feed lets packets of all connections pass until there were n observations, and
// returns how many there were.
func (l *load) feed(n int) (fed int) {
	for fed < n {
		for range perTurn {
			l.pass(l.flows[l.random.IntN(len(l.flows))])
		}
		fed += l.deliver()
	}
	return fed
}
