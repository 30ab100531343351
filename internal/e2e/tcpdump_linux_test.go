package e2e

import (
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sighting is one packet at one point as tcpdump recorded and tshark read it.
type sighting struct {
	space    uint64 // inode of the namespace
	ifindex  int
	out      bool
	time     int64 // ns
	protocol int
	source   address
	dest     address
	ipID     uint16
	length   int // of the IP packet
	icmpType int
	icmpID   int
	icmpSeq  int
	tcpSeq   uint32
	tcpAck   uint32
	tcpFlags int
	payload  string
}

// recorder is a tcpdump on all links of one namespace.
type recorder struct {
	space uint64
	file  string
	cmd   *exec.Cmd
}

// record starts cmd, which must be tcpdump in the namespace to record, and
// returns when it captures.
func record(t *testing.T, space uint64, prepare func(name string, args ...string) *exec.Cmd) *recorder {
	t.Helper()
	r := &recorder{space: space, file: filepath.Join(t.TempDir(), "any.pcap")}
	r.cmd = prepare("tcpdump", "-i", "any", "-n", "-U", "-B", "65536", "-s", "0",
		"--time-stamp-precision=nano", "-Z", "root", "-w", r.file, "ip")
	said := &safeBuffer{}
	r.cmd.Stderr = said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	await(t, 10*time.Second, "tcpdump", func() bool { return strings.Contains(said.String(), "listening on") })
	return r
}

// stop ends the recording and reads it.
func (r *recorder) stop(t *testing.T) []sighting {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Fatalf("tcpdump: %v: %s", err, r.cmd.Stderr)
	}
	if said := fmt.Sprint(r.cmd.Stderr.(*safeBuffer).String()); !strings.Contains(said, "0 packets dropped by kernel") {
		t.Fatalf("the oracle lost packets: %s", said)
	}
	fields := []string{
		"sll.ifindex", "sll.pkttype", "frame.time_epoch", "ip.proto", "ip.src", "ip.dst", "ip.id", "ip.len",
		"icmp.type", "icmp.ident", "icmp.seq", "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport",
		"tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "udp.payload", "tcp.payload", "data.data",
	}
	args := []string{"-r", r.file, "-n", "-T", "fields", "-E", "occurrence=f", "-E", "separator=|",
		"-o", "tcp.desegment_tcp_streams:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	tshark := exec.Command("tshark", args...)
	var complaint strings.Builder
	tshark.Stderr = &complaint
	out, err := tshark.Output()
	if err != nil {
		t.Fatalf("tshark: %v: %s", err, complaint.String())
	}
	var all []sighting
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(f) != len(fields) {
			t.Fatalf("tshark printed %q", line)
		}
		all = append(all, r.parse(t, f))
	}
	return all
}

func (r *recorder) parse(t *testing.T, f []string) sighting {
	number := func(s string) int {
		if s == "" {
			return 0
		}
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			t.Fatalf("tshark printed %q: %v", f, err)
		}
		return int(n)
	}
	seconds, fraction, _ := strings.Cut(f[2], ".")
	s := sighting{
		space: r.space, ifindex: number(f[0]), out: f[1] == "4",
		time:     int64(number(seconds))*int64(time.Second) + int64(number(strings.TrimLeft((fraction + "000000000")[:9], "0"))),
		protocol: number(f[3]), source: address{IP: f[4]}, dest: address{IP: f[5]},
		ipID: uint16(number(f[6])), length: number(f[7]),
		icmpType: number(f[8]), icmpID: number(f[9]), icmpSeq: number(f[10]),
		tcpSeq: uint32(number(f[15])), tcpAck: uint32(number(f[16])), tcpFlags: number(f[17]),
	}
	ports := f[11:13]
	if s.protocol == 6 {
		ports = f[13:15]
	}
	if s.protocol != 1 {
		s.source.Port, s.dest.Port = uint16(number(ports[0])), uint16(number(ports[1]))
	}
	for _, p := range f[18:] {
		if p != "" {
			raw, err := hex.DecodeString(strings.ReplaceAll(p, ":", ""))
			if err != nil {
				t.Fatalf("tshark printed payload %q", p)
			}
			s.payload = string(raw)
			break
		}
	}
	return s
}

// point is what a hop of a journey and a sighting of the oracle have in common:
// where, which way, and what the headers said.
type point struct {
	space        uint64
	ifindex      int
	out          bool
	source, dest address
	ipID         uint16
	length       int
	icmpID       int
	icmpSeq      int
	tcpSeq       uint32
	tcpAck       uint32
}

func (s *sighting) point() point {
	return point{s.space, s.ifindex, s.out, s.source, s.dest, s.ipID, s.length, s.icmpID, s.icmpSeq, s.tcpSeq, s.tcpAck}
}

func (h *hop) point() point {
	p := point{space: h.NamespaceInode, ifindex: h.Ifindex, out: h.Direction == "out", source: h.Source, dest: h.Destination,
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
func apart(h *hop, s *sighting) time.Duration {
	return time.Duration(math.Abs(float64(h.Time.UnixNano() - s.time)))
}
