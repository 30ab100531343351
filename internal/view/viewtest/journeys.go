package viewtest

import (
	"net/netip"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// Case is a journey and what it is an example of.
type Case struct {
	Name    string
	Journey *trace.Journey
}

// Addresses of the example host and its internet.
var (
	back     = netip.MustParseAddr("172.24.0.2")
	database = netip.MustParseAddr("172.24.0.3")
	gateway  = netip.MustParseAddr("172.24.0.1")
	ubuntu   = netip.MustParseAddr("172.17.0.2")
	host     = netip.MustParseAddr("192.0.2.10")
	internet = netip.MustParseAddr("198.51.100.7")
)

const flowID = 3047873481

var masqueradeRule = &trace.Rule{
	RuleRef: netfilter.RuleRef{
		Backend: netfilter.IPTablesNFT, Family: "ip", Table: "nat", Chain: "POSTROUTING", Position: 1, Handle: 5,
		Text: "-A POSTROUTING -s 172.24.0.0/16 ! -o br-4c1f22aa -j MASQUERADE",
	},
	Evidence: trace.ByRules,
}

var dnatRule = &trace.Rule{
	RuleRef: netfilter.RuleRef{
		Backend: netfilter.IPTablesNFT, Family: "ip", Table: "nat", Chain: "DOCKER", Position: 2, Handle: 8,
		Text: "-A DOCKER ! -i br-4c1f22aa -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.24.0.2:8000",
	},
	Evidence: trace.ByRules,
}

// maker builds one journey step by step.
type maker struct{ trace.Journey }

func begin(id uint64, p packet.Protocol, d trace.FlowDirection, data []byte) *maker {
	return &maker{trace.Journey{
		ID: id, Time: epoch + int64(id)*1000000, Protocol: p, Direction: d, Topology: Topology(), Data: data,
		Verdict: trace.Verdict{Hop: -1, Evidence: trace.ByTap},
	}}
}

func (m *maker) ends(fromName string, from netip.AddrPort, toName string, to netip.AddrPort) *maker {
	m.From = trace.Endpoint{Name: fromName, IP: from.Addr(), Port: from.Port()}
	m.To = trace.Endpoint{Name: toName, IP: to.Addr(), Port: to.Port()}
	if m.From.Name != "" && m.From.Name != "host" {
		m.From.Containers = []string{fromName}
	}
	if m.To.Name != "" && m.To.Name != "host" {
		m.To.Containers = []string{toName}
	}
	return m
}

// hop adds a sighting, after nanoseconds behind the one before; 0 is the same
// stamp.
func (m *maker) hop(p place, after int64, h packet.Headers) *maker {
	i := len(m.Hops)
	hop := trace.Hop{
		Time: m.Time, Point: p.point, Interface: p.link, Namespace: p.namespace, Type: p.packetType,
		Headers: h, Containers: p.containers, PeerContainers: p.peers, From: i - 1,
	}
	if i > 0 {
		hop.Time = m.Hops[i-1].Time + after
		hop.SameStamp = after == 0
	}
	m.Hops = append(m.Hops, hop)
	return m
}

func (m *maker) nat(kind string, i, j int, before, after packet.Tuple, rule *trace.Rule) *maker {
	hook := netfilter.Postrouting
	if kind == trace.DNAT || kind == trace.Redirect {
		hook = netfilter.Prerouting
	}
	m.Translations = append(m.Translations, trace.Translation{
		Kind: kind, Namespace: "host", Between: [2]int{i, j}, Hook: hook,
		Undo: m.Direction == trace.Reply, Before: before, After: after, Evidence: trace.ByConntrack,
		ConntrackID: flowID, Rule: rule,
	})
	if rule != nil {
		m.Rules = append(m.Rules, *rule)
	}
	return m
}

func (m *maker) flow(ns netns.ID, original, reply packet.Tuple) *maker {
	f := netfilter.Flow{
		Namespace: ns, ID: flowID, Status: netfilter.Confirmed, Original: original, Reply: reply, Timeout: 30,
	}
	if m.Direction == trace.Reply {
		f.Status |= netfilter.SeenReply
	}
	if f.SourceNAT() {
		f.Status |= netfilter.SrcNAT | netfilter.SrcNATDone
	}
	if f.DestinationNAT() {
		f.Status |= netfilter.DstNAT | netfilter.DstNATDone
	}
	m.Flows = append(m.Flows, f)
	return m
}

func (m *maker) verdict(r trace.Result, hop int) *maker {
	m.Verdict.Result, m.Verdict.Hop = r, hop
	return m
}

func (m *maker) related(id uint64, why string) *maker {
	m.Related = append(m.Related, trace.Relation{ID: id, Why: why})
	return m
}

func plain(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }

func echoHeaders(source, destination netip.Addr, typ uint8, id, seq uint16, ttl uint8) packet.Headers {
	return packet.Headers{
		Layers: packet.LayerEthernet | packet.LayerIPv4 | packet.LayerICMP, EtherType: 0x0800,
		SourceMAC: mac(9), DestinationMAC: mac(4),
		Tuple:  packet.NewTuple(packet.ICMP, source, destination, id, uint16(typ)<<8),
		Length: 84, IPID: 0x1234, TTL: ttl, DF: true, ICMPType: typ, ICMPID: id, ICMPSeq: seq,
		NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42, PayloadLength: 56,
	}
}

func tcpHeaders(source, destination netip.AddrPort, flags uint8, ttl uint8) packet.Headers {
	return packet.Headers{
		Layers: packet.LayerEthernet | packet.LayerIPv4 | packet.LayerTCP, EtherType: 0x0800,
		SourceMAC: mac(9), DestinationMAC: mac(4),
		Tuple:  packet.NewTuple(packet.TCP, source.Addr(), destination.Addr(), source.Port(), destination.Port()),
		Length: 40, IPID: 0x1234, TTL: ttl, DF: true, TCPSeq: 1000, TCPFlags: flags, TCPWindow: 64240,
		NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 54,
	}
}

func udpHeaders(source, destination netip.AddrPort, ttl uint8, length uint32) packet.Headers {
	h := packet.Headers{
		Layers: packet.LayerEthernet | packet.LayerIPv4 | packet.LayerUDP, EtherType: 0x0800,
		SourceMAC: mac(9), DestinationMAC: mac(4),
		Tuple:  packet.NewTuple(packet.UDP, source.Addr(), destination.Addr(), source.Port(), destination.Port()),
		Length: length, IPID: 0x1234, TTL: ttl, NetworkOffset: 14, TransportOffset: 34, PayloadOffset: 42,
	}
	if source.Addr().Is6() {
		h.Layers ^= packet.LayerIPv4 | packet.LayerIPv6
		h.EtherType, h.IPID, h.TransportOffset, h.PayloadOffset = 0x86dd, 0, 54, 62
	}
	return h
}

// PingOut is a container's echo request through the masquerade; PingReply is
// the answer.
func PingOut(id uint64, seq uint16) *trace.Journey {
	inner, outer := echoHeaders(back, internet, 8, 7, seq, 64), echoHeaders(host, internet, 8, 7, seq, 63)
	return &begin(id, packet.ICMP, trace.Original, echo(back, internet, 8, 7, seq)).
		ends("back", plain(back), "", plain(internet)).
		hop(backOut, 0, inner).hop(vethBackIn, 12000, inner).hop(bridgeIn, 0, inner).hop(uplinkOut, 118000, outer).
		nat(trace.Masquerade, 2, 3, inner.Tuple, outer.Tuple, masqueradeRule).
		flow(hostNS, inner.Tuple, outer.Tuple.Inverse()).
		verdict(trace.Left, 3).Journey
}

// PingReply is the answer to PingOut.
func PingReply(id uint64, seq uint16) *trace.Journey {
	request, translated := echoHeaders(back, internet, 8, 7, seq, 64), echoHeaders(host, internet, 8, 7, seq, 63)
	outer, inner := echoHeaders(internet, host, 0, 7, seq, 64), echoHeaders(internet, back, 0, 7, seq, 63)
	return &begin(id, packet.ICMP, trace.Reply, echo(internet, host, 0, 7, seq)).
		ends("", plain(internet), "back", plain(back)).
		hop(uplinkIn, 0, outer).hop(bridgeOut, 41000, inner).hop(vethBackOut, 0, inner).hop(backIn, 9000, inner).
		nat(trace.Masquerade, 0, 1, outer.Tuple, inner.Tuple, masqueradeRule).
		flow(hostNS, request.Tuple, translated.Tuple.Inverse()).
		related(id-1, "reply_to").
		verdict(trace.Delivered, 3).Journey
}

// Cases returns every example, each with a number of its own.
func Cases() []Case {
	client := netip.AddrPortFrom(internet, 40312)
	published := netip.AddrPortFrom(host, 8080)
	server := netip.AddrPortFrom(back, 8000)
	syn, synDNAT := tcpHeaders(client, published, packet.SYN, 64), tcpHeaders(client, server, packet.SYN, 63)
	synAck := tcpHeaders(server, client, packet.SYN|packet.ACK, 64)
	synAckOut := tcpHeaders(published, client, packet.SYN|packet.ACK, 63)
	synAck.TCPSeq, synAck.TCPAck, synAckOut.TCPSeq, synAckOut.TCPAck = 9000, 1001, 9000, 1001

	inside := netip.AddrPortFrom(back, 34567)
	outside := netip.AddrPortFrom(host, 1024)
	web := netip.AddrPortFrom(internet, 443)
	portBefore, portAfter := tcpHeaders(inside, web, packet.SYN, 64), tcpHeaders(outside, web, packet.SYN, 63)

	toDatabase := echoHeaders(back, database, 8, 8, 1, 64)
	fromDatabase := echoHeaders(database, back, 0, 8, 1, 64)
	fromHost := echoHeaders(gateway, back, 8, 9, 1, 64)
	toHost := tcpHeaders(inside, netip.AddrPortFrom(gateway, 22), packet.SYN, 64)
	isolated := tcpHeaders(netip.AddrPortFrom(ubuntu, 49152), server, packet.SYN, 64)
	leak := echoHeaders(back, internet, 8, 10, 1, 64)
	leakOut := echoHeaders(back, internet, 8, 10, 1, 63)

	dnsQuestion := netip.MustParseAddrPort("127.0.0.1:41000")
	dns53, dnsReal := netip.MustParseAddrPort("127.0.0.11:53"), netip.MustParseAddrPort("127.0.0.11:35353")
	dns := udpHeaders(dnsQuestion, dnsReal, 64, 56)

	long6a := netip.MustParseAddrPort("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:fff1]:65533")
	long6b := netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:65534")
	long6c := netip.MustParseAddrPort("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
	inner6, outer6 := udpHeaders(long6a, long6b, 64, 60), udpHeaders(long6c, long6b, 63, 60)

	arrived := echoHeaders(internet, host, 8, 11, 1, 60)

	cases := []Case{
		{"ping out", PingOut(1, 1)},
		{"ping reply", PingReply(2, 1)},
		{"ping out again", PingOut(3, 2)},
		{"ping reply again", PingReply(4, 2)},
		{"published port", &begin(5, packet.TCP, trace.Original, tcp(client, published, packet.SYN, 1000, 0)).
			ends("", client, "back", server).
			hop(uplinkIn, 0, syn).hop(bridgeOut, 97000, synDNAT).hop(vethBackOut, 4000, synDNAT).hop(backIn, 7000, synDNAT).
			nat(trace.DNAT, 0, 1, syn.Tuple, synDNAT.Tuple, dnatRule).
			flow(hostNS, syn.Tuple, synDNAT.Tuple.Inverse()).
			verdict(trace.Delivered, 3).Journey},
		{"published port, reply", &begin(6, packet.TCP, trace.Reply, tcp(server, client, packet.SYN|packet.ACK, 9000, 1001)).
			ends("back", server, "", client).
			hop(backOut, 0, synAck).hop(vethBackIn, 8000, synAck).hop(bridgeIn, 3000, synAck).hop(uplinkOut, 60000, synAckOut).
			nat(trace.DNAT, 2, 3, synAck.Tuple, synAckOut.Tuple, dnatRule).
			flow(hostNS, syn.Tuple, synDNAT.Tuple.Inverse()).
			related(5, "reply_to").
			verdict(trace.Left, 3).Journey},
		{"source port changed", &begin(7, packet.TCP, trace.Original, tcp(inside, web, packet.SYN, 1000, 0)).
			ends("back", inside, "", web).
			hop(backOut, 0, portBefore).hop(vethBackIn, 12000, portBefore).hop(bridgeIn, 2500, portBefore).hop(uplinkOut, 118000, portAfter).
			nat(trace.Masquerade, 2, 3, portBefore.Tuple, portAfter.Tuple, masqueradeRule).
			flow(hostNS, portBefore.Tuple, portAfter.Tuple.Inverse()).
			verdict(trace.Left, 3).Journey},
		{"container to container", &begin(8, packet.ICMP, trace.Original, echo(back, database, 8, 8, 1)).
			ends("back", plain(back), "database", plain(database)).
			hop(backOut, 0, toDatabase).hop(vethBackIn, 10000, toDatabase).hop(vethDataOut, 5000, toDatabase).hop(databaseIn, 0, toDatabase).
			verdict(trace.Delivered, 3).Journey},
		{"container to container, reply", &begin(22, packet.ICMP, trace.Reply, echo(database, back, 0, 8, 1)).
			ends("database", plain(database), "back", plain(back)).
			hop(databaseOut, 0, fromDatabase).hop(vethDataIn, 8000, fromDatabase).hop(vethBackOut, 5000, fromDatabase).hop(backIn, 0, fromDatabase).
			related(8, "reply_to").
			verdict(trace.Delivered, 3).Journey},
		{"host to container", &begin(9, packet.ICMP, trace.Original, echo(gateway, back, 8, 9, 1)).
			ends("host", plain(gateway), "back", plain(back)).
			hop(bridgeOut, 0, fromHost).hop(vethBackOut, 0, fromHost).hop(backIn, 9000, fromHost).
			flow(hostNS, fromHost.Tuple, fromHost.Tuple.Inverse()).
			verdict(trace.Delivered, 2).Journey},
		{"to the host itself", &begin(10, packet.TCP, trace.Original, tcp(inside, netip.AddrPortFrom(gateway, 22), packet.SYN, 1000, 0)).
			ends("back", inside, "host", netip.AddrPortFrom(gateway, 22)).
			hop(backOut, 0, toHost).hop(vethBackIn, 10000, toHost).hop(bridgeIn, 0, toHost).
			verdict(trace.Delivered, 2).Journey},
		{"dropped", &begin(11, packet.TCP, trace.NoDirection, tcp(netip.AddrPortFrom(ubuntu, 49152), server, packet.SYN, 1000, 0)).
			ends("ubuntu", netip.AddrPortFrom(ubuntu, 49152), "back", server).
			hop(ubuntuOut, 0, isolated).hop(vethUbuIn, 10000, isolated).hop(dockerIn, 0, isolated).
			verdict(trace.Dropped, -1).Journey},
		{"vanished", &begin(12, packet.TCP, trace.NoDirection, tcp(netip.AddrPortFrom(ubuntu, 49152), server, packet.SYN, 1000, 0)).
			ends("ubuntu", netip.AddrPortFrom(ubuntu, 49152), "back", server).
			hop(ubuntuOut, 0, isolated).hop(vethUbuIn, 10000, isolated).hop(dockerIn, 0, isolated).
			verdict(trace.Vanished, 2).Journey},
		{"leak", &begin(13, packet.ICMP, trace.NoDirection, echo(back, internet, 8, 10, 1)).
			ends("back", plain(back), "", plain(internet)).
			hop(backOut, 0, leak).hop(vethBackIn, 10000, leak).hop(bridgeIn, 0, leak).hop(uplinkOut, 50000, leakOut).
			verdict(trace.Left, 3).Journey},
		{"embedded DNS", &begin(14, packet.UDP, trace.Original, udp(dnsQuestion, dnsReal, "")).
			ends("back", dnsQuestion, "back", dnsReal).
			hop(backLoOut, 0, dns).hop(backLoIn, 2000, dns).
			nat(trace.DNAT, -1, 0, packet.NewTuple(packet.UDP, dnsQuestion.Addr(), dns53.Addr(), dnsQuestion.Port(), dns53.Port()), dns.Tuple, nil).
			flow(backNS, packet.NewTuple(packet.UDP, dnsQuestion.Addr(), dns53.Addr(), dnsQuestion.Port(), dns53.Port()), dns.Tuple.Inverse()).
			verdict(trace.Delivered, 1).Journey},
		{"translated after the last tap", &begin(15, packet.TCP, trace.Original, tcp(client, published, packet.SYN, 1000, 0)).
			ends("", client, "host", netip.AddrPortFrom(host, 80)).
			hop(uplinkIn, 0, syn).
			nat(trace.Redirect, 0, -1, syn.Tuple, packet.NewTuple(packet.TCP, internet, host, client.Port(), 80), nil).
			verdict(trace.Delivered, 0).Journey},
		{"IPv6, as long as can be", &begin(16, packet.UDP, trace.Original, udp(long6a, long6b, "x")).
			ends("", long6a, "", long6b).
			hop(backOut, 0, inner6).hop(vethBackIn, 12000, inner6).hop(bridgeIn, 0, inner6).hop(uplinkOut, 118000, outer6).
			nat(trace.SNAT, 2, 3, inner6.Tuple, outer6.Tuple, nil).
			flow(hostNS, inner6.Tuple, outer6.Tuple.Inverse()).
			verdict(trace.Left, 3).Journey},
		{"no hops", &begin(17, packet.TCP, trace.Original, nil).
			ends("host", netip.AddrPortFrom(host, 50000), "", web).
			nat(trace.DNAT, -1, -1, packet.NewTuple(packet.TCP, host, internet, 50000, 443), packet.NewTuple(packet.TCP, host, back, 50000, 8000), nil).
			verdict(trace.Dropped, -1).Journey},
		{"echo id changed", echoIDChanged()},
		{"hostile names", hostile()},
		{"ping from outside", &begin(20, packet.ICMP, trace.Original, echo(internet, host, 8, 11, 1)).
			ends("", plain(internet), "host", plain(host)).
			hop(uplinkIn, 0, arrived).
			flow(hostNS, arrived.Tuple, arrived.Tuple.Inverse()).
			verdict(trace.Delivered, 0).Journey},
		{"flood", flood()},
		{"ICMP error", Refusal(23)},
		{"merged segments", merged()},
		{"docker-proxy", proxied()},
	}
	byName := map[string]*trace.Journey{}
	for _, c := range cases {
		byName[c.Name] = c.Journey
	}
	dropped := byName["dropped"]
	dropped.Verdict.Hook = netfilter.Forward
	dropped.Verdict.By = "DOCKER-ISOLATION-STAGE-2 #1"
	dropped.Verdict.Evidence = trace.ByRules
	dropped.Rules = []trace.Rule{{RuleRef: netfilter.RuleRef{
		Backend: netfilter.IPTablesNFT, Family: "ip", Table: "filter", Chain: "DOCKER-ISOLATION-STAGE-2", Position: 1,
		Text: "-A DOCKER-ISOLATION-STAGE-2 -o br-4c1f22aa -j DROP",
	}, Evidence: trace.ByRules}}
	vanished := byName["vanished"]
	vanished.Supersedes = 11
	vanished.Verdict.Reason = "no conntrack entry appeared, so the packet did not pass the rules"
	vanished.Verdict.Evidence = trace.ByInference
	vanished.Related = []trace.Relation{{ID: 11, Why: "retransmission_of"}}
	byName["leak"].Verdict.Leak = true
	byName["leak"].Notes = []string{"the flow is older than the rules: conntrack -D would end it"}
	byName["to the host itself"].Verdict.Evidence = trace.ByConntrack
	byName["to the host itself"].Verdict.By = "sshd"
	byName["no hops"].Verdict.Hook = netfilter.Output
	byName["no hops"].Verdict.Reason = "no route"
	byName["no hops"].Notes = []string{"known from conntrack alone: no tap saw this packet"}
	dnsCase := byName["embedded DNS"]
	dnsCase.Translations[0].Namespace = "back"
	dnsCase.Translations[0].Hook = netfilter.Output
	return cases
}

func echoIDChanged() *trace.Journey {
	inner, outer := echoHeaders(back, internet, 8, 7, 1, 64), echoHeaders(host, internet, 8, 4242, 1, 63)
	j := &begin(18, packet.ICMP, trace.Original, echo(back, internet, 8, 7, 1)).
		ends("back", plain(back), "", plain(internet)).
		hop(backOut, 0, inner).hop(vethBackIn, 12000, inner).hop(bridgeIn, 0, inner).hop(uplinkOut, 118000, outer).
		nat(trace.SNAT, 2, 3, inner.Tuple, outer.Tuple, nil).
		verdict(trace.Left, 3).Journey
	t := &j.Translations[0]
	t.ConntrackID, t.Evidence = 0, trace.ByInference
	t.Rule = &trace.Rule{RuleRef: netfilter.RuleRef{
		Backend: netfilter.NFTables, Family: "ip", Table: "docker-bridges", Chain: "nat-postrouting-out__docker0", Position: 3, Handle: 12,
		Text: `ip saddr 172.24.0.0/16 oifname != "br-4c1f22aa" counter packets 0 bytes 0 masquerade comment "MASQUERADE for back_net, made by the engine"`,
	}, Evidence: trace.ByTrace}
	return j
}

// hostile has a name that would take over a terminal, and links nobody knows.
func hostile() *trace.Journey {
	inner, outer := echoHeaders(back, internet, 8, 7, 1, 64), echoHeaders(host, internet, 8, 7, 1, 63)
	name := "evil\x1b[2J\x1b]0;owned\a\u202egnihsif\u2066\xff\xfe-with-a-very-long-name-that-does-not-end-数据库数据库数据库"
	from := backOut
	from.namespace, from.containers, from.link = name, []string{name}, "if9\n\x1b[31m"
	veth := vethBackIn
	veth.peers = []string{name}
	j := &begin(19, packet.ICMP, trace.NoDirection, echo(back, internet, 8, 7, 1)).
		ends(name, plain(back), "", plain(internet)).
		hop(from, 0, inner).hop(veth, 12000, inner).hop(uplinkOut, 118000, outer).
		nat(trace.Masquerade, 1, 2, inner.Tuple, outer.Tuple, &trace.Rule{
			RuleRef:  netfilter.RuleRef{Backend: netfilter.IPTablesLegacy, Table: "nat", Chain: "POSTROUTING\x1b[1m", Position: 1, Text: "-A POSTROUTING -m comment --comment \"\x1b[5mblink\u200b\u202e\" -j MASQUERADE"},
			Evidence: trace.ByCounter,
		}).
		verdict(trace.Unfinished, 2).Journey
	j.Topology = nil
	j.Verdict.By = "\x9b31m rule"
	j.Verdict.Reason = "line\r\nbreak"
	j.Notes = []string{"note \x1b[31m with colour"}
	j.Related = []trace.Relation{{ID: 1, Why: "reply_to"}}
	return j
}

// flood is a broadcast that a bridge copied to two ports.
func flood() *trace.Journey {
	h := udpHeaders(netip.AddrPortFrom(back, 68), netip.MustParseAddrPort("255.255.255.255:67"), 64, 300)
	h.DestinationMAC = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	seen := func(p place) place {
		p.packetType = capture.Broadcast
		return p
	}
	j := &begin(21, packet.UDP, trace.NoDirection, nil).
		ends("back", netip.AddrPortFrom(back, 68), "", netip.MustParseAddrPort("255.255.255.255:67")).
		hop(backOut, 0, h).hop(seen(vethBackIn), 11000, h).hop(seen(bridgeIn), 0, h).hop(vethDataOut, 4000, h).hop(seen(databaseIn), 0, h).
		verdict(trace.Flooded, 1).Journey
	j.Hops[3].From = 1
	return j
}

// Refusal is an ICMP error that comes back through the masquerade which the
// datagram that it is about has passed.
func Refusal(id uint64) *trace.Journey {
	said := func(to netip.Addr, ttl uint8) packet.Headers {
		h := echoHeaders(internet, to, 3, 0, 0, ttl)
		h.Layers |= packet.LayerQuoted
		h.Tuple, h.ICMPCode, h.Length = packet.NewTuple(packet.ICMP, internet, to, 0, 3<<8|3), 3, 96
		h.Quoted = packet.NewTuple(packet.UDP, to, internet, 39000, 9)
		return h
	}
	outer, inner := said(host, 64), said(back, 63)
	data := append(echo(internet, host, 3, 0, 0), udp(netip.AddrPortFrom(host, 39000), netip.AddrPortFrom(internet, 9), "")[14:]...)
	data[35] = 3 // port unreachable
	return &begin(id, packet.ICMP, trace.Reply, data).
		ends("", plain(internet), "back", plain(back)).
		hop(uplinkIn, 0, outer).hop(bridgeOut, 41000, inner).hop(vethBackOut, 0, inner).hop(backIn, 9000, inner).
		nat(trace.Masquerade, 0, 1, outer.Tuple, inner.Tuple, masqueradeRule).
		related(id-1, "error_about").
		verdict(trace.Delivered, 3).Journey
}

// merged is a segment that the host put together with two others.
func merged() *trace.Journey {
	from, to := netip.AddrPortFrom(internet, 443), netip.AddrPortFrom(back, 34567)
	small, large := tcpHeaders(from, to, packet.ACK, 64), tcpHeaders(from, to, packet.ACK, 63)
	small.PayloadLength, small.Length = 1000, 1040
	large.PayloadLength, large.Length = 3000, 3040
	j := &begin(24, packet.TCP, trace.NoDirection, tcp(from, to, packet.ACK, 1000, 1)).
		ends("", from, "back", to).
		hop(uplinkIn, 0, small).hop(bridgeOut, 41000, large).hop(vethBackOut, 0, large).hop(backIn, 9000, large).
		verdict(trace.Delivered, 3).Journey
	for i := 1; i < len(j.Hops); i++ {
		j.Hops[i].MergedWith = 2
	}
	return j
}

// proxied is the first packet of a connection that docker-proxy made for a client
// on the host itself.
func proxied() *trace.Journey {
	localhost := netip.MustParseAddr("127.0.0.1")
	from, to := netip.AddrPortFrom(gateway, 37930), netip.AddrPortFrom(back, 8000)
	h := tcpHeaders(from, to, packet.SYN, 64)
	j := &begin(25, packet.TCP, trace.Original, tcp(from, to, packet.SYN, 1000, 0)).
		ends("host", from, "back", to).
		hop(bridgeOut, 0, h).hop(vethBackOut, 4000, h).hop(backIn, 7000, h).
		related(20, "proxied_as").
		verdict(trace.Delivered, 2).Journey
	j.Translations = []trace.Translation{{
		Kind: trace.Proxy, Namespace: "host", PeerJourney: 20, Between: [2]int{-1, -1}, Evidence: trace.BySocket,
		Before: packet.NewTuple(packet.TCP, localhost, localhost, 49822, 8080), After: h.Tuple,
	}}
	j.Notes = []string{"why 172.24.0.1 and not 127.0.0.1: docker-proxy, a process on this host, took the client's connection (#20) and made this one itself; this is no NAT (process 4711 holds both sockets)"}
	return j
}
