package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"natlens/internal/lab/engine"
	"natlens/netinfo/netns"
)

// headersHost is a host with NAT66 and a container "web", and what every path
// through it looks like.
func headersHost(t *testing.T) (e *engine.Engine, web string) {
	e = engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	connect6(t, e)
	e.Run("--name", "web", "box")
	ready6(t, e)
	return e, ip6Of(t, e, "web")
}

// outward6 and inward6 are journeys through NAT66, as lines writes them.
func outward6(web, to string) string {
	return strings.Join([]string{"web:eth0 out " + web, "host:VETH in " + web, "host:docker0 in " + web, "host:eth0 out " + hostAddress6}, " > "+to+"\n") +
		" > " + to + "\nleft at host:eth0 out [tap]\n"
}

func inward6(from, web string) string {
	return "host:eth0 in " + from + " > " + hostAddress6 + "\nhost:docker0 out " + from + " > " + web + "\nhost:VETH out " + from + " > " + web +
		"\nweb:eth0 in " + from + " > " + web + "\ndelivered at web:eth0 in [tap]\n"
}

const (
	masquerade66   = "masquerade at postrouting by POSTROUTING [conntrack]"
	unmasquerade66 = "undo masquerade at prerouting by POSTROUTING [conntrack]"
)

// An answer that carries headers between IPv6 and UDP finds its way back through
// NAT66, and its question.
func TestCaseIPv6AnswersWithExtensionHeaders(t *testing.T) {
	e, web := headersHost(t)
	for i, c := range []struct {
		name   string
		option int
		filter string
	}{
		{"hop-by-hop", unix.IPV6_HOPOPTS, "ip6[6] == 0"},
		{"destination options", unix.IPV6_DSTOPTS, "ip6[6] == 60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port, server := uint16(39200+i), netip.AddrPortFrom(world6, uint16(5010+i))
			var s *net.UDPConn
			if err := e.Internet().Do(func() (err error) {
				s, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(server))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			raw, err := s.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(raw.Control(func(fd uintptr) {
				err = unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, c.option, string([]byte{0, 0, 1, 4, 0, 0, 0, 0})) // PadN
			}), err); err != nil {
				t.Fatal(err)
			}
			w := startCase6(t, e, fmt.Sprintf("not ip6 multicast and (udp dst port %d or %s)", server.Port(), c.filter))
			u := dial6(t, e.Namespace("web"), port, internet6, server.Port())
			exchange(t, u, s)
			found := w.end(func(j *journey) bool {
				return j.Protocol == "udp" && (j.Hops[0].Source.Port == port || j.Hops[0].Destination.Port == port)
			})
			if len(found) != 2 {
				t.Fatalf("%d journeys, want 2", len(found))
			}
			question, answer := found[0], found[1]
			holds(t, "the question", question, outward6(web, internet6)+masquerade66)
			holds(t, "the answer", answer, inward6(internet6, web)+unmasquerade66)
			if r := answer.Related; len(r) != 1 || r[0].Why != "reply_to" || r[0].ID != question.ID {
				t.Errorf("the answer is related to %v, want reply_to #%d", r, question.ID)
			}
		})
	}
}

// exchange sends words from u to s and an answer back, both of which arrive.
func exchange(t *testing.T, u, s *net.UDPConn) {
	t.Helper()
	b := make([]byte, 100)
	deadline := time.Now().Add(10 * time.Second)
	_, err := u.Write([]byte("a question"))
	err = errors.Join(err, s.SetReadDeadline(deadline), u.SetReadDeadline(deadline))
	if err != nil {
		t.Fatal(err)
	}
	_, from, err := s.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteToUDPAddrPort([]byte("an answer"), from); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Read(b); err != nil {
		t.Fatal(err)
	}
}

// routed6 is a frame with a datagram behind a routing header of that type (RFC 8200,
// section 4.4; RFC 8754), whose last segment is final; without segments where final is
// the zero Addr.
func routed6(t *testing.T, source, destination net.HardwareAddr, from, to netip.AddrPort, kind, left byte, final netip.Addr) []byte {
	t.Helper()
	header := []byte{17, 0, kind, left, 0, 0, 0, 0}
	if final.IsValid() {
		header[1] = 2 // units of 8 bytes, without the first
		header = append(header, final.AsSlice()...)
	} else {
		final = to.Addr()
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: final.AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil { // over the final destination
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: source, DstMAC: destination, EthernetType: layers.EthernetTypeIPv6}, ip, udp, gopacket.Payload("by another way")); err != nil {
		t.Fatal(err)
	}
	const ethernet, fixed = 14, 40
	plain := b.Bytes()
	frame := append(append(append([]byte{}, plain[:ethernet+fixed]...), header...), plain[ethernet+fixed:]...)
	frame[ethernet+6] = 43
	binary.BigEndian.PutUint16(frame[ethernet+4:], uint16(len(frame)-ethernet-fixed))
	copy(frame[ethernet+24:], to.Addr().AsSlice())
	return frame
}

// inject sends a frame on a namespace's eth0, past its protocol stack.
func inject(t *testing.T, in *netns.Handle, frame []byte) {
	t.Helper()
	if err := in.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
	}); err != nil {
		t.Fatal(err)
	}
}

// hardware is the MAC address of a link.
func hardware(t *testing.T, l ipLink) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(l.Address)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// A routing header says by which other nodes a packet is to go. Who is none of them
// passes it on as any other packet, and so does NAT66.
func TestCaseIPv6RoutingHeaders(t *testing.T) {
	e, web := headersHost(t)
	outside := hardware(t, ipLinks(t, e.CommandOutside)["eth0"])
	uplink := hardware(t, ipLinks(t, e.Command)["eth0"])
	bridge := hardware(t, ipLinks(t, e.Command)["docker0"])
	inner := hardware(t, ipLinks(t, inContainer(e, "web"))["eth0"])
	hear := func(t *testing.T, port uint16) *net.UDPConn {
		t.Helper()
		var s *net.UDPConn
		if err := e.Internet().Do(func() (err error) {
			s, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(world6, port)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	const filter = "not ip6 multicast and (udp or ip6[6] == 43 or (icmp6 and ip6[40] < 128))"
	mine := func(port uint16) func(*journey) bool {
		return func(j *journey) bool {
			h := &j.Hops[0]
			return j.Protocol == "udp" && (h.Source.Port == port || h.Destination.Port == port) || h.ICMP != nil && h.ICMP.Type < 128
		}
	}
	t.Run("of an answer, used up", func(t *testing.T) {
		s := hear(t, 5020)
		w := startCase6(t, e, filter)
		u := dial6(t, e.Namespace("web"), 39220, internet6, 5020)
		exchange(t, u, s)
		inject(t, e.Internet(), routed6(t, outside, uplink, netip.AddrPortFrom(world6, 5020), netip.AddrPortFrom(host6, 39220), 0, 0, host6))
		if _, err := u.Read(make([]byte, 100)); err != nil {
			t.Errorf("the answer with a routing header did not arrive: %v", err)
		}
		found := w.end(mine(39220))
		if len(found) != 3 {
			t.Fatalf("%d journeys, want 3", len(found))
		}
		holds(t, "the question", found[0], outward6(web, internet6)+masquerade66)
		holds(t, "the plain answer", found[1], inward6(internet6, web)+unmasquerade66)
		holds(t, "the answer with a routing header", found[2], inward6(internet6, web)+unmasquerade66)
	})
	t.Run("of an answer, of a type that nobody knows", func(t *testing.T) {
		s := hear(t, 5021)
		w := startCase6(t, e, filter)
		u := dial6(t, e.Namespace("web"), 39221, internet6, 5021)
		exchange(t, u, s)
		inject(t, e.Internet(), routed6(t, outside, uplink, netip.AddrPortFrom(world6, 5021), netip.AddrPortFrom(host6, 39221), 200, 1, netip.Addr{}))
		time.Sleep(300 * time.Millisecond)
		found := w.end(mine(39221))
		if len(found) != 4 {
			t.Fatalf("%d journeys, want 4", len(found))
		}
		holds(t, "the answer", found[2], inward6(internet6, web)+unmasquerade66)
		holds(t, "the error", found[3], outward6(web, internet6)+masquerade66)
		aboutTheOther(t, found[3], found[2])
		same(t, "info", found[3].Info, fmt.Sprintf("parameter problem: udp [%s]:5021 > [%s]:39221", internet6, web))
	})
	// 128 bytes of a packet are not enough for the ports behind a segment.
	t.Run("of an answer, quoted beyond what is captured", func(t *testing.T) {
		s := hear(t, 5023)
		w := startCase6(t, e, filter)
		u := dial6(t, e.Namespace("web"), 39223, internet6, 5023)
		exchange(t, u, s)
		inject(t, e.Internet(), routed6(t, outside, uplink, netip.AddrPortFrom(world6, 5023), netip.AddrPortFrom(host6, 39223), 0, 1, host6))
		time.Sleep(300 * time.Millisecond)
		found := w.end(mine(39223))
		if len(found) != 4 {
			t.Fatalf("%d journeys, want 4", len(found))
		}
		holds(t, "the error", found[3], outward6(web, internet6)+"snat at postrouting by no rule [inferred]")
		same(t, "info", found[3].Info, fmt.Sprintf("parameter problem: udp %s > %s, the rest is not captured", internet6, web))
		same(t, "notes", noteOf(found[3]), "too little captured to find its conntrack entry (-s takes more): hops joined because nothing else fits")
	})
	// A checksum is over the last segment's address. The kernel holds it against that of
	// the next one (net/netfilter/utils.c, nf_ip6_checksum), unless it is told not to.
	// In this order: what is translated leaves an entry, which says more of the other.
	for _, c := range []struct{ checked, want string }{
		{"1", strings.Replace(outward6(web, internet6), hostAddress6, web, 1)},
		{"0", outward6(web, internet6) + masquerade66},
	} {
		checked, want := c.checked, c.want
		t.Run("with a segment left, nf_conntrack_checksum="+checked, func(t *testing.T) {
			tune(t, e, "net.netfilter.nf_conntrack_checksum", checked)
			w := startCase6(t, e, filter)
			inject(t, e.Namespace("web"), routed6(t, inner, bridge, netip.AddrPortFrom(netip.MustParseAddr(web), 39222), netip.AddrPortFrom(world6, 5022), 4, 1, netip.MustParseAddr(far6)))
			time.Sleep(300 * time.Millisecond)
			found := w.end(mine(39222))
			if len(found) != 1 {
				t.Fatalf("%d journeys, want 1", len(found))
			}
			holds(t, "the datagram", found[0], strings.TrimSuffix(want, "\n"))
			same(t, "leak", found[0].Verdict.Leak, checked == "1")
			if checked == "1" {
				says(t, "reason", found[0].Verdict.Reason, "INVALID, as one with a wrong checksum is")
				says(t, "notes", noteOf(found[0]), "ip6tables -I FORWARD -m conntrack --ctstate INVALID -j DROP")
			}
		})
	}
}
