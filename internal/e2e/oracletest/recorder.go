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

	"natlens/internal/lab/labtest"
)

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
	r := &Recorder{space: space, file: filepath.Join(t.TempDir(), fmt.Sprintf("%d.pcap", space)), said: &Buffer{}}
	r.cmd = prepare("tcpdump", "-i", "any", "-n", "-B", "131072", "-s", strconv.Itoa(snap),
		"--time-stamp-precision=nano", "-Z", "root", "-w", r.file, "ip or ip6")
	r.cmd.Stderr = r.said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // it may have ended
	Await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(r.said.String(), "listening on") })
	return r
}

// Space is the inode of the namespace.
func (r *Recorder) Space() uint64 { return r.space }

// File is what the recording is in: a pcap of LINKTYPE_LINUX_SLL2.
func (r *Recorder) File() string { return r.file }

// Protocol numbers (RFC 5237's registry).
const (
	icmp  = 1
	tcp   = 6
	udp   = 17
	icmp6 = 58
)

// loopback is the index of lo in every namespace.
const loopback = 1

// Packet types, packet(7).
const (
	toHost    = 0
	broadcast = 1
	multicast = 2
	outgoing  = 4
)

// fields are what tshark is asked for. Quoted packets follow the one that quotes
// them, after a comma.
var fields = []string{
	"sll.ifindex", "sll.pkttype", "frame.time_epoch", "ip.proto", "ip.src", "ip.dst", "ip.id", "ip.len",
	"ip.frag_offset", "ip.flags.mf", "icmp.type", "icmp.ident", "icmp.seq", "udp.srcport", "udp.dstport",
	"tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.len",
	"ipv6.src", "ipv6.dst", "ipv6.plen", "ipv6.nxt", "ipv6.fraghdr.nxt", "ipv6.fraghdr.ident", "ipv6.fraghdr.offset",
	"ipv6.hopopts.nxt", "ipv6.dstopts.nxt", "ipv6.routing.nxt",
	"ipv6.fraghdr.more", "icmpv6.type", "icmpv6.echo.identifier", "icmpv6.echo.sequence_number",
	"udp.payload", "tcp.payload", "data.data",
}

// Stop ends the recording and reads it, when tcpdump has written what it was given: its
// last packets a second after they came. A recording that lost packets proves nothing and
// fails the test.
func (r *Recorder) Stop(t testing.TB) []Sighting {
	t.Helper()
	labtest.Idle(t, r.cmd.Process.Pid)
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
		"-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"}
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
		if s := parseSighting(t, r.space, f); !s.housekeeping() {
			all = append(all, s)
		}
	}
	if err := tshark.Wait(); err != nil {
		t.Fatalf("tshark: %v: %s", err, complaint.String())
	}
	return all
}

// record is a line that tshark printed, field by field.
type record struct {
	t testing.TB
	f map[string]string
}

// at returns the nth of the values that tshark printed for a field.
func (r record) at(field string, n int) string {
	s := r.f[field]
	for ; n > 0; n-- {
		_, s, _ = strings.Cut(s, ",")
	}
	first, _, _ := strings.Cut(s, ",")
	return first
}

func (r record) number(field string, n int) int {
	switch s := r.at(field, n); s {
	case "", "False":
		return 0
	case "True":
		return 1
	default:
		v, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			r.t.Fatalf("tshark printed %q: %v", r.f, err)
		}
		return int(v)
	}
}

// ports returns those of the nth packet in the line.
func (r record) ports(protocol, n int) (source, dest uint16) {
	switch protocol {
	case udp:
		return uint16(r.number("udp.srcport", n)), uint16(r.number("udp.dstport", n))
	case tcp:
		return uint16(r.number("tcp.srcport", n)), uint16(r.number("tcp.dstport", n))
	}
	return 0, 0
}

func parseSighting(t testing.TB, space uint64, printed []string) Sighting {
	r := record{t, map[string]string{}}
	for i, f := range fields {
		r.f[f] = printed[i]
	}
	seconds, fraction, _ := strings.Cut(r.at("frame.time_epoch", 0), ".")
	whole, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		t.Fatalf("tshark printed %q: %v", printed, err)
	}
	part, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		t.Fatalf("tshark printed %q: %v", printed, err)
	}
	s := Sighting{Space: space, Ifindex: r.number("sll.ifindex", 0), Type: r.number("sll.pkttype", 0), Time: whole*int64(time.Second) + part}
	s.Out = s.Type == outgoing
	if r.f["ip.src"] != "" {
		r.readIPv4(&s)
	} else {
		r.readIPv6(&s)
	}
	s.Source.Port, s.Dest.Port = r.ports(s.Protocol, 0)
	switch s.Protocol {
	case icmp:
		r.readICMP(&s, "ip.", "ip.proto", "icmp.type", "icmp.ident", "icmp.seq")
	case icmp6:
		r.readICMP(&s, "ipv6.", "ipv6.nxt", "icmpv6.type", "icmpv6.echo.identifier", "icmpv6.echo.sequence_number")
	case tcp:
		s.TCPSeq, s.TCPAck = uint32(r.number("tcp.seq_raw", 0)), uint32(r.number("tcp.ack_raw", 0))
		s.TCPFlags, s.TCPLength = r.number("tcp.flags", 0), uint32(r.number("tcp.len", 0))
	}
	for _, f := range []string{"udp.payload", "tcp.payload", "data.data"} {
		if p := r.at(f, 0); p != "" {
			raw, err := hex.DecodeString(strings.ReplaceAll(p, ":", ""))
			if err != nil {
				t.Fatalf("tshark printed payload %q", p)
			}
			s.payload = string(raw)
			break
		}
	}
	s.whole = tuple{s.Protocol, s.Source, s.Dest, s.ICMPID}
	s.beginning = s.payload
	return s
}

// offsetUnit is in how many bytes offsets of fragments count (RFC 791, section 3.1; RFC
// 8200, section 4.5); tshark prints them as they are.
const offsetUnit = 8

func (r record) readIPv4(s *Sighting) {
	s.Protocol, s.Source.IP, s.Dest.IP = r.number("ip.proto", 0), r.at("ip.src", 0), r.at("ip.dst", 0)
	s.IPID, s.Length = uint16(r.number("ip.id", 0)), r.number("ip.len", 0)
	s.Offset, s.More = r.number("ip.frag_offset", 0)*offsetUnit, r.number("ip.flags.mf", 0) == 1
	s.fragmentID = uint32(s.IPID)
}

// extensions are the fields that say what is behind a header of IPv6 (RFC 8200,
// section 4). The load has each of them once at most.
var extensions = map[int]string{0: "ipv6.hopopts.nxt", 43: "ipv6.routing.nxt", 44: "ipv6.fraghdr.nxt", 60: "ipv6.dstopts.nxt"}

func (r record) readIPv6(s *Sighting) {
	const header = 40
	s.Source.IP, s.Dest.IP = r.at("ipv6.src", 0), r.at("ipv6.dst", 0)
	s.Protocol, s.Length = r.number("ipv6.nxt", 0), header+r.number("ipv6.plen", 0)
	for range extensions { // each says what comes behind it
		field := extensions[s.Protocol]
		if r.f[field] == "" {
			break
		}
		s.Protocol = r.number(field, 0)
	}
	if r.f["ipv6.fraghdr.nxt"] != "" {
		s.fragmentID = uint32(r.number("ipv6.fraghdr.ident", 0))
		s.Offset, s.More = r.number("ipv6.fraghdr.offset", 0)*offsetUnit, r.number("ipv6.fraghdr.more", 0) == 1
	}
}

// readICMP reads an echo's numbers, or the headers that an error quotes.
func (r record) readICMP(s *Sighting, ip, protocol, kind, id, seq string) {
	s.ICMPType = r.number(kind, 0)
	switch s.ICMPType {
	case 0, 8, 128, 129: // RFC 792, RFC 4443
		if r.f[kind] != "" {
			s.ICMPID, s.ICMPSeq = r.number(id, 0), r.number(seq, 0)
		}
		return
	}
	if !strings.Contains(r.f[ip+"src"], ",") {
		return
	}
	q := tuple{protocol: r.number(protocol, 1), source: Address{IP: r.at(ip+"src", 1)}, dest: Address{IP: r.at(ip+"dst", 1)}, icmpID: r.number(id, 0)}
	q.source.Port, q.dest.Port = r.ports(q.protocol, 0)
	s.quoted, s.quotedID = &q, uint16(r.number("ip.id", 1))
}

// housekeeping is what the kernel says to its neighbours of its own accord, and
// nobody's traffic: IPv6 among the link's addresses, and neighbour discovery
// (RFC 4861), which natlens tells as events.
func (s *Sighting) housekeeping() bool {
	return housekeeping(s.Source.IP, s.Dest.IP) || s.Protocol == icmp6 && s.ICMPType >= 133 && s.ICMPType <= 137
}

func housekeeping(source, dest string) bool {
	return source == "::" || strings.HasPrefix(source, "fe80:") || strings.HasPrefix(dest, "ff")
}
