package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// A segment that is lost on the way is sent again, under another identification.
// Each has a journey of its own.
func TestCaseRetransmission(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	// Of segments of that size, the first is dropped.
	rule := []string{"FORWARD", "-p", "tcp", "--dport", "8030", "-m", "length", "--length", "552", "-m", "statistic", "--mode", "nth", "--every", "100000", "--packet", "0", "-j", "DROP"}
	must(t, e.Command("iptables", append([]string{"-I"}, rule...)...))
	defer must(t, e.Command("iptables", append([]string{"-D"}, rule...)...))
	l := &load{t: t, e: e}
	l.answerTCP(e.Internet(), 8030)
	c := startCase(t, e)
	conn, err := lab.DialTCP(t.Context(), e.Namespace("back"), netip.MustParseAddrPort("0.0.0.0:36200"), netip.AddrPortFrom(internet, 8030))
	if err != nil {
		t.Fatal(err)
	}
	_, err = lab.Exchange(t.Context(), conn, l.words(500)) // with 52 bytes of headers
	l.must(err)
	l.must(conn.Close())
	time.Sleep(4 * time.Second) // what does not come on is waited for
	journeys, sightings := c.end()

	data := with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 36200 && j.Hops[0].Length == 552 })
	seen := map[bool]int{}
	for _, s := range sightings {
		if s.Source.Port == 36200 && s.Dest.Port == 8030 && strings.HasPrefix(s.Payload(), "natlens") {
			seen[s.Out]++
		}
	}
	if len(data) != 2 || seen[true] != 1 {
		t.Fatalf("%d journeys with the data, want 2; tcpdump saw it leave %d times, want 1", len(data), seen[true])
	}
	slices.SortFunc(data, func(a, b *journey) int { return a.Hops[0].Time.Compare(b.Hops[0].Time) })
	lost, again := data[0], data[1]
	const in = "back:eth0 out, host:VETH in, host:docker0 in"
	same(t, "path of the lost one", vethNamed(shape(lost)), in)
	if lost.Verdict.Result == "left" || lost.Verdict.Result == "delivered" {
		t.Errorf("the lost one: %+v", lost.Verdict)
	}
	says(t, "reason", lost.Verdict.Reason, "a rule dropped this one", "(FORWARD #1)")
	same(t, "path of the other", vethNamed(shape(again)), in+", host:eth0 out")
	same(t, "end of the other", again.End(), "left at host:eth0 out")
	if r := again.Related; len(r) != 1 || r[0].Why != "retransmission_of" || r[0].ID != lost.ID {
		t.Errorf("sent again is related to %v, want retransmission_of #%d", r, lost.ID)
	}
	if lost.Hops[0].TCP.Seq != again.Hops[0].TCP.Seq || lost.Hops[0].IPID == again.Hops[0].IPID {
		t.Errorf("sequence numbers %d and %d, identifications %d and %d", lost.Hops[0].TCP.Seq, again.Hops[0].TCP.Seq, lost.Hops[0].IPID, again.Hops[0].IPID)
	}
}

// Packets that wait in a queue are overtaken by others of their own flow.
func TestCaseReordering(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "back", "box")
	// What is large waits in a class of its own, which sends one a second: longer than
	// who sends them is interrupted.
	for _, line := range []string{
		"tc qdisc add dev eth0 root handle 1: htb default 20",
		"tc class add dev eth0 parent 1: classid 1:10 htb rate 8kbit burst 1100 cburst 1100",
		"tc class add dev eth0 parent 1: classid 1:20 htb rate 1gbit",
		"nft add table ip order",
		"nft add chain ip order late { type filter hook postrouting priority 150 ; }",
		"nft add rule ip order late udp dport 5030 meta length > 900 meta priority set 1:10",
	} {
		words := strings.Fields(line)
		must(t, e.Command(words[0], words[1:]...))
	}
	l := &load{t: t, e: e}
	l.hearUDP(e.Internet(), netip.AddrPortFrom(internet, 5030))
	l.pings(e.Namespace("back"), internet, 7300, 1) // who the next hop is, is known then
	u, err := lab.DialUDP(e.Namespace("back"), netip.MustParseAddrPort("0.0.0.0:36300"), netip.AddrPortFrom(internet, 5030))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	leaving := oracletest.Rows(t, e.Command, "udp dst port 5030", "sll.ifindex", "sll.pkttype", "ip.id")
	c := startExactCase(t, e, "back")
	for _, size := range []int{1000, 1000, 1000, 100, 200} {
		_, err := u.Write(l.words(size))
		l.must(err)
	}
	await(t, 20*time.Second, "what is large to leave", func() bool {
		out, err := e.Command("tc", "-s", "class", "show", "dev", "eth0", "classid", "1:10").Output()
		return err == nil && strings.Contains(string(out), " bytes 3 pkt ")
	})
	journeys := with(c.end(), func(j *journey) bool { return j.Hops[0].Source.Port == 36300 })
	if len(journeys) != 5 {
		t.Fatalf("%d journeys, want 5", len(journeys))
	}
	slices.SortFunc(journeys, func(a, b *journey) int { return a.Hops[0].Time.Compare(b.Hops[0].Time) })
	var sent, left []string
	for _, j := range journeys {
		same(t, "path", vethNamed(shape(j)), "back:eth0 out, host:VETH in, host:docker0 in, host:eth0 out")
		same(t, "end", j.End(), "left at host:eth0 out")
		same(t, "notes", noteOf(j), "")
		sent = append(sent, fmt.Sprintf("0x%04x", j.Hops[0].IPID))
		for _, h := range j.Hops {
			same(t, "identification", h.IPID, j.Hops[0].IPID)
		}
	}
	uplink := fmt.Sprint(ipLinks(t, e.Command)["eth0"].Ifindex)
	for _, row := range leaving() {
		if row[0] == uplink && row[1] == "4" {
			left = append(left, row[2])
		}
	}
	if slices.Equal(sent, left) {
		t.Errorf("tshark saw %v leave in the order in which they were sent: nothing was overtaken", left)
	}
	slices.Sort(sent)
	slices.Sort(left)
	if !slices.Equal(sent, left) {
		t.Errorf("%v were sent, tshark saw %v leave", sent, left)
	}
}

// frameOf is a datagram as back would send it to the host, for the internet.
func frameOf(t *testing.T, e *engine.Engine, id uint16, port layers.UDPPort) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: id, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolUDP,
		SrcIP: ipOf(t, e, "back", "bridge").AsSlice(), DstIP: internet.AsSlice()}
	udp := &layers.UDP{SrcPort: 36400, DstPort: port}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, &layers.Ethernet{
		SrcMAC: hardware(t, ipLinks(t, inContainer(e, "back"))["eth0"]), DstMAC: hardware(t, ipLinks(t, e.Command)["docker0"]),
		EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload("twice")); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The same frame twice is a packet and its duplicate. A datagram that a program
// sends again has another identification, and is none.
func TestCaseDuplicates(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "box")
	(&load{t: t, e: e}).hearUDP(e.Internet(), netip.AddrPortFrom(internet, 5031))
	first, again := frameOf(t, e, 77, 5031), frameOf(t, e, 78, 5031)
	if binary.BigEndian.Uint16(again[18:]) != 78 {
		t.Fatal("the identification is not where it should be")
	}
	c := startCase(t, e)
	(&load{t: t}).must(e.Namespace("back").Do(func() error { return sendFrames("eth0", [][]byte{first, first, again}) }))
	time.Sleep(300 * time.Millisecond)
	journeys, sightings := c.end()
	found := with(journeys, func(j *journey) bool { return j.Hops[0].Source.Port == 36400 })
	hops, seen := 0, 0
	var left []int64 // when the frame that is the same did, each time
	for _, s := range sightings {
		if s.Dest.Port != 5031 {
			continue
		}
		if seen++; s.IPID == 77 && s.Source.IP == hostAddress.String() {
			left = append(left, s.Time)
		}
	}
	for _, j := range found {
		hops += len(j.Hops) - 1 // without back's own
		same(t, "path", vethNamed(shape(j)), "back:eth0 out, host:VETH in, host:docker0 in, host:eth0 out")
		same(t, "end", j.End(), "left at host:eth0 out")
		if kinds := kindsOf(j); !slices.Equal(kinds, []string{"masquerade"}) {
			t.Errorf("translations %v", kinds)
		}
	}
	if len(found) != 3 || hops != seen {
		t.Fatalf("%d journeys with %d hops on the host, want 3; tcpdump saw %d", len(found), hops, seen)
	}
	slices.SortFunc(found, func(a, b *journey) int { return a.Hops[0].Time.Compare(b.Hops[0].Time) })
	if len(left) != 2 {
		t.Fatalf("tcpdump saw the frame leave %d times", len(left))
	}
	late := time.Duration(left[1]-left[0]) > oracletest.SoonAfter // who sent them was interrupted
	if r := found[1].Related; len(found[0].Related) != 0 || len(found[2].Related) != 0 ||
		!(late && len(r) == 0) && (len(r) != 1 || r[0].Why != "duplicate_of" || r[0].ID != found[0].ID) {
		t.Errorf("related to %v, %v and %v, want the second to be a duplicate of #%d", found[0].Related, r, found[2].Related, found[0].ID)
	}
}

// Two containers send the same bytes from the same port at the same time: echoes
// with one id and sequence number, datagrams and SYN-ACKs without an identification.
// Flows and cables are all that tells them apart.
func TestCaseIdenticalInTwoFlows(t *testing.T) {
	e := engine.Shared(t)
	names := []string{"back", "database"}
	for _, name := range names {
		e.Run("--name", name, "box")
	}
	l := &cast{load: &load{t: t, e: e}}
	l.answerTCP(e.Internet(), 8031)
	l.hearUDP(e.Internet(), netip.AddrPortFrom(internet, 5032))
	l.pings(e.Namespace("back"), internet, 7310, 1)
	c := startExactCase(t, e, names...)
	const times = 12
	var sockets []*net.UDPConn
	for _, name := range names {
		u, err := lab.ListenUDP(e.Namespace(name), netip.AddrPortFrom(netip.IPv4Unspecified(), 36500))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		raw, err := u.SyscallConn()
		l.must(err)
		// Without an identification (ip_select_ident).
		l.must(errors.Join(raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DO)
		}), err))
		sockets = append(sockets, u)
	}
	for i := range times {
		for k, name := range names {
			_, err := sockets[k].WriteToUDPAddrPort([]byte("identical"), netip.AddrPortFrom(internet, 5032))
			l.must(err)
			_, err = lab.Ping(t.Context(), e.Namespace(name), internet, lab.Echo{ID: 7311, Seq: uint16(i), Payload: []byte("identical")})
			l.must(err)
		}
	}
	for _, name := range names {
		l.connect(e.Namespace(name), 36501, netip.AddrPortFrom(internet, 8031), 1)
	}
	all := c.end()
	for _, name := range names {
		datagrams := with(all, func(j *journey) bool {
			return j.Protocol == "udp" && j.From.Name == name && j.Hops[0].Destination.Port == 5032
		})
		echoes := with(all, func(j *journey) bool {
			return j.From.Name == name && j.Hops[0].ICMP != nil && j.Hops[0].ICMP.ID == 7311
		})
		if len(datagrams) != times || len(echoes) != times {
			t.Errorf("%s: %d datagrams and %d echo requests, want %d of each", name, len(datagrams), len(echoes), times)
		}
		for _, j := range datagrams {
			same(t, "identification", j.Hops[0].IPID, 0)
		}
		for _, j := range append(datagrams, echoes...) {
			same(t, "path", vethNamed(shape(j)), name+":eth0 out, host:VETH in, host:docker0 in, host:eth0 out")
			same(t, "evidence", j.Verdict.Evidence, "tap")
		}
		synAck := only(t, "SYN ACK to "+name, with(all, func(j *journey) bool {
			return j.To.Name == name && j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN ACK"
		}))
		same(t, "identification of the SYN ACK", synAck.Hops[0].IPID, 0)
		same(t, "end of the SYN ACK", synAck.End(), "delivered at "+name+":eth0 in")
	}
}
