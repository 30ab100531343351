package oracletest

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Sighting is one packet at one point as tcpdump recorded and tshark read it.
type Sighting struct {
	Space    uint64 // inode of the namespace
	Ifindex  int
	Out      bool
	Time     int64 // ns
	Protocol int
	// Source and Dest have no ports in a later fragment.
	Source, Dest Address
	IPID         uint16
	Length       int // of the IP packet
	Offset       int // of a fragment, bytes
	More         bool
	ICMPType     int
	ICMPID       int // of an echo
	ICMPSeq      int
	TCPSeq       uint32
	TCPAck       uint32
	TCPFlags     int
	TCPLength    uint32 // bytes of data
	payload      string // as much as was captured

	quoted *tuple // of the packet that an ICMP error is about
	// whole is the packet's tuple; for a later fragment, its first one's.
	whole tuple
}

// tuple is what conntrack tells flows apart by.
type tuple struct {
	protocol     int
	source, dest Address
	icmpID       int
}

// Payload is the data behind the last header, as much of it as was captured.
func (s *Sighting) Payload() string { return s.payload }

// snap is how much of each packet is recorded: all headers and the payload's
// beginning, which differs in all packets of a load.
const snap = 256

// Recorder is a tcpdump on all links of one namespace.
type Recorder struct {
	space uint64
	file  string
	cmd   *exec.Cmd
	said  *Buffer
}

// Record starts tcpdump by prepare, which runs a program in the namespace with
// that inode, and returns when it captures.
func Record(t testing.TB, space uint64, prepare func(name string, args ...string) *exec.Cmd) *Recorder {
	t.Helper()
	r := &Recorder{space: space, file: filepath.Join(t.TempDir(), "any.pcap"), said: &Buffer{}}
	r.cmd = prepare("tcpdump", "-i", "any", "-n", "-B", "131072", "-s", strconv.Itoa(snap),
		"--time-stamp-precision=nano", "-Z", "root", "-w", r.file, "ip")
	r.cmd.Stderr = r.said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // it may have ended
	Await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(r.said.String(), "listening on") })
	return r
}

// fields are what tshark is asked for. Quoted packets follow the one that quotes
// them, after a comma.
var fields = []string{
	"sll.ifindex", "sll.pkttype", "frame.time_epoch", "ip.proto", "ip.src", "ip.dst", "ip.id", "ip.len",
	"ip.frag_offset", "ip.flags.mf", "icmp.type", "icmp.ident", "icmp.seq", "udp.srcport", "udp.dstport",
	"tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.len",
	"udp.payload", "tcp.payload", "data.data",
}

// Stop ends the recording and reads it. A recording that lost packets proves
// nothing and fails the test.
func (r *Recorder) Stop(t testing.TB) []Sighting {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("tcpdump: %v: %s", err, r.said)
	}
	if said := r.said.String(); !strings.Contains(said, "\n0 packets dropped by kernel") {
		t.Fatalf("the oracle lost packets, so lower the rate: %s", said)
	}
	args := []string{"-r", r.file, "-n", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-E", "separator=|",
		"-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	tshark := exec.Command("tshark", args...)
	var complaint Buffer
	tshark.Stderr = &complaint
	out, err := tshark.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tshark.Start(); err != nil {
		t.Fatal(err)
	}
	var all []Sighting
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Split(lines.Text(), "|")
		if len(f) != len(fields) {
			t.Fatalf("tshark printed %q", lines.Text())
		}
		all = append(all, parseSighting(t, r.space, f))
	}
	if err := tshark.Wait(); err != nil {
		t.Fatalf("tshark: %v: %s", err, complaint.String())
	}
	return all
}

func parseSighting(t testing.TB, space uint64, f []string) Sighting {
	// at returns the nth of the values that tshark printed for a field.
	at := func(i, n int) string {
		for ; n > 0; n-- {
			_, f[i], _ = strings.Cut(f[i], ",")
		}
		first, _, _ := strings.Cut(f[i], ",")
		return first
	}
	number := func(s string) int {
		switch s {
		case "", "False":
			return 0
		case "True":
			return 1
		}
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			t.Fatalf("tshark printed %q: %v", f, err)
		}
		return int(n)
	}
	seconds, fraction, _ := strings.Cut(f[2], ".")
	s := Sighting{
		Space: space, Ifindex: number(f[0]), Out: f[1] == "4",
		Time:     int64(number(seconds))*int64(time.Second) + int64(number(strings.TrimLeft((fraction + "000000000")[:9], "0"))),
		Protocol: number(at(3, 0)), Source: Address{IP: at(4, 0)}, Dest: Address{IP: at(5, 0)},
		IPID: uint16(number(at(6, 0))), Length: number(at(7, 0)), Offset: number(at(8, 0)), More: number(at(9, 0)) == 1,
	}
	udp := [2]uint16{uint16(number(at(13, 0))), uint16(number(at(14, 0)))}
	tcp := [2]uint16{uint16(number(at(15, 0))), uint16(number(at(16, 0)))}
	ports := func(protocol int) [2]uint16 {
		switch protocol {
		case 17:
			return udp
		case 6:
			return tcp
		}
		return [2]uint16{}
	}
	s.Source.Port, s.Dest.Port = ports(s.Protocol)[0], ports(s.Protocol)[1]
	switch s.Protocol {
	case 1:
		s.ICMPType = number(at(10, 0))
		switch s.ICMPType {
		case 0, 8:
			s.ICMPID, s.ICMPSeq = number(at(11, 0)), number(at(12, 0))
		default:
			if !strings.Contains(f[4], ",") {
				break
			}
			q := tuple{protocol: number(at(3, 1)), source: Address{IP: at(4, 1)}, dest: Address{IP: at(5, 1)}, icmpID: number(at(11, 0))}
			q.source.Port, q.dest.Port = ports(q.protocol)[0], ports(q.protocol)[1]
			s.quoted = &q
		}
	case 6:
		s.TCPSeq, s.TCPAck = uint32(number(at(17, 0))), uint32(number(at(18, 0)))
		s.TCPFlags, s.TCPLength = number(at(19, 0)), uint32(number(at(20, 0)))
	}
	for i := range f[21:] {
		if p := at(21+i, 0); p != "" {
			raw, err := hex.DecodeString(strings.ReplaceAll(p, ":", ""))
			if err != nil {
				t.Fatalf("tshark printed payload %q", p)
			}
			s.payload = string(raw)
			break
		}
	}
	s.whole = tuple{s.Protocol, s.Source, s.Dest, s.ICMPID}
	return s
}

// piece reports whether it is a fragment.
func (s *Sighting) piece() bool { return s.Offset > 0 || s.More }

// String says where and when, and by what its like are told apart.
func (s Sighting) String() string {
	way := map[bool]string{false: "in", true: "out"}[s.Out]
	return fmt.Sprintf("{%d if%d %s %s protocol %d %v > %v id %d length %d offset %d icmp %d/%d/%d tcp %d/%d/%#x %.20q}", s.Space, s.Ifindex, way,
		time.Unix(0, s.Time).UTC().Format("15:04:05.000000000"), s.Protocol, s.whole.source, s.whole.dest, s.IPID, s.Length, s.Offset,
		s.ICMPType, s.ICMPID, s.ICMPSeq, s.TCPSeq, s.TCPAck, s.TCPFlags, s.payload)
}

// loopback reports whether it never leaves its host.
func (s *Sighting) loopback() bool { return strings.HasPrefix(s.Dest.IP, "127.") }

// place is where and which way a packet was seen.
type place struct {
	space   uint64
	ifindex int
	out     bool
}

func (s *Sighting) place() place { return place{s.Space, s.Ifindex, s.Out} }

// point is what a hop of a journey and a sighting have in common: where, which
// way, and what the headers said.
type point struct {
	place
	source, dest Address
	ipID         uint16
	length       int
	icmpID       int
	icmpSeq      int
	tcpSeq       uint32
	tcpAck       uint32
}

func (s *Sighting) point() point {
	return point{s.place(), s.Source, s.Dest, s.IPID, s.Length, s.ICMPID, s.ICMPSeq, s.TCPSeq, s.TCPAck}
}

func (h *Hop) point() point {
	p := point{place: place{h.NamespaceInode, h.Ifindex, h.Direction == "out"}, source: h.Source, dest: h.Destination,
		ipID: h.IPID, length: h.Length}
	if h.ICMP != nil {
		p.icmpID, p.icmpSeq = h.ICMP.ID, h.ICMP.Seq
	}
	if h.TCP != nil {
		p.tcpSeq, p.tcpAck = h.TCP.Seq, h.TCP.Ack
	}
	return p
}

// apart is the time between a hop and its sighting; two sockets stamp one packet
// some microseconds apart.
func apart(h *Hop, s *Sighting) time.Duration {
	return time.Duration(h.Time.UnixNano() - s.Time).Abs()
}

// Conversation returns the protocol and the ends of what a packet belongs to;
// for an ICMP error that is what it is about. An echo's id stands in the ports.
func (s *Sighting) Conversation() (protocol int, ends [2]Address) {
	t := s.whole
	if s.quoted != nil {
		t = *s.quoted
	}
	if t.protocol == 1 {
		t.source.Port, t.dest.Port = uint16(t.icmpID), uint16(t.icmpID)
	}
	return t.protocol, [2]Address{t.source, t.dest}
}
