package live

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// ofTCP waits until all that was seen is told, and returns the journeys of TCP.
func (w *watch) ofTCP() []*trace.Journey {
	w.t.Helper()
	w.end()
	return w.all(func(j *trace.Journey) bool { return j.Protocol == packet.TCP })
}

// TestConnectionOfAHelper: FTP's helper puts the host's address into what a container
// says, by which that becomes shorter, and the numbers of all that follows change.
func TestConnectionOfAHelper(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	b, err := newBox("ftp", 99) // 172.17.1.100
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.remove(); err != nil {
			t.Error(err)
		}
	})
	ruling(t, `ct helper ftp { type "ftp" protocol tcp; }
		chain test { type filter hook prerouting priority 0; tcp dport 21 ct helper set "ftp"; }`)
	l, err := lab.ListenTCP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 21))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan []string, 1)
	go func() {
		var lines []string
		defer func() { heard <- lines }()
		s, err := l.Accept()
		if err != nil {
			return
		}
		defer s.Close()
		for r := bufio.NewScanner(s); r.Scan(); {
			lines = append(lines, r.Text())
			if _, err := fmt.Fprintf(s, "200 %d\r\n", len(lines)); err != nil {
				return
			}
		}
	}()
	w := startWatch(t, Config{})
	c, err := lab.DialTCP(t.Context(), b.ns, netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, 21))
	if err != nil {
		t.Fatal(err)
	}
	const long, short = "172,17,1,100", "192,0,2,10"
	said := []string{"USER me", "PORT " + long + ",200,10", "LIST", "PORT " + long + ",200,11", "LIST"}
	replies := bufio.NewScanner(c)
	for _, line := range said {
		if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
			t.Fatal(err)
		}
		if !replies.Scan() {
			t.Fatal(replies.Err())
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(<-heard, "; "), strings.ReplaceAll(strings.Join(said, "; "), long, short); got != want {
		t.Fatalf("the server heard %s, want %s", got, want)
	}
	w.journey("the container's last", func(j *trace.Journey) bool {
		return j.From.Name == "ftp" && len(j.Hops) == 4 && j.Hops[0].Headers.TCPFlags&packet.FIN != 0
	})
	shorter, lines := 0, 0
	for _, j := range w.ofTCP() {
		first, last := &j.Hops[0].Headers, &j.Hops[len(j.Hops)-1].Headers
		if len(j.Hops) != 4 || j.Verdict.Result != trace.Left && j.Verdict.Result != trace.Delivered {
			t.Errorf("%s: %s, %s", first.Tuple, pathOf(j), j.Verdict.Result)
			continue
		}
		if j.From.Name != "ftp" {
			continue // what its answers acknowledge depends on when they were sent
		}
		var changes []string
		if first.PayloadLength == uint32(len(said[1])+2) {
			changes = append(changes, "length -2")
			lines++
		}
		if shorter != 0 {
			changes = append(changes, fmt.Sprintf("sequence number %+d", shorter))
		}
		if got := int32(last.TCPSeq - first.TCPSeq); got != int32(shorter) {
			t.Errorf("%s: the sequence number changes by %d, want %d", first.Tuple, got, shorter)
		}
		note := strings.Join(j.Notes, "; ")
		if want := strings.Join(changes, ", "); !strings.HasSuffix(note, want) || (note == "") != (want == "") {
			t.Errorf("notes %q, want %q", note, want)
		}
		if first.PayloadLength == uint32(len(said[1])+2) {
			shorter -= 2
		}
	}
	if lines != 2 {
		t.Errorf("%d lines with an address", lines)
	}
}

// TestConnectionThroughASynProxy: it answers a SYN in the server's place, and whatever
// follows has other numbers on each side.
func TestConnectionThroughASynProxy(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	const loose = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose" // of the test's own namespace
	if err := os.WriteFile(loose, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(loose, []byte("1"), 0); err != nil {
			t.Error(err)
		}
	})
	ruling(t, `chain early { type filter hook prerouting priority raw; iifname docker0 tcp dport 80 tcp flags & (syn|ack) == syn notrack; }
		chain late { type filter hook forward priority -1; tcp dport 80 ct state invalid,untracked counter synproxy mss 1460 sack-perm timestamp wscale 7; }`)
	s, err := lab.ServeHTTP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 80), "hello")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := startWatch(t, Config{})
	if _, err := lab.Get(t.Context(), back.Namespace(), netip.AddrPortFrom(lab.ServerAddress, 80)); err != nil {
		t.Fatal(err)
	}
	veth := "host/" + back.HostLink
	out := "back/eth0:out " + veth + ":in host/docker0:in"
	in := "host/docker0:out " + veth + ":out back/eth0:in"
	w.journey("the container's last", func(j *trace.Journey) bool {
		return j.From.Name == "back" && len(j.Hops) == 4 && j.Hops[0].Headers.TCPFlags&packet.FIN != 0
	})
	w.journey("the server's", func(j *trace.Journey) bool {
		return strings.Contains(j.Verdict.Reason, "the SYN proxy of host took it")
	})
	said, took := 0, map[string]int{}
	for _, j := range w.ofTCP() {
		first := &j.Hops[0].Headers
		reason := j.Verdict.Reason
		switch path := pathOf(j); {
		case first.PayloadLength > 0 || first.TCPFlags&packet.FIN != 0:
			want, change := out+" host/eth0:out", "acknowledged"
			if j.From.Name != "back" {
				want, change = "host/eth0:in "+in, "sequence number"
			}
			if path != want || j.Verdict.Result != trace.Left && j.Verdict.Result != trace.Delivered {
				t.Errorf("%s: %s, %s", first.Tuple, path, j.Verdict.Result)
				continue
			}
			last := &j.Hops[3].Headers
			by := int32(last.TCPAck - first.TCPAck)
			if change == "sequence number" {
				by = int32(last.TCPSeq - first.TCPSeq)
			}
			if got, want := strings.Join(j.Notes, "; "), fmt.Sprintf("connection tracking of host counts on from the number of its SYN proxy: %s %+d", change, by); got != want || by == 0 {
				t.Errorf("notes %q, want %q", got, want)
			}
			if r := j.Flows[0].Renumberings[1].After; r != by && r != -by {
				t.Errorf("numbers change by %d, conntrack says %d", by, r)
			}
			said++
		case path == out && first.TCPFlags == packet.SYN:
			took["SYN: "+reason]++
		case path == out && first.TCPFlags == packet.ACK:
			took["ACK: "+reason]++
		case path == "host/eth0:in" && first.TCPFlags == packet.SYN|packet.ACK:
			took["SYN-ACK: "+reason]++
		case j.Verdict.Result != trace.Left && j.Verdict.Result != trace.Delivered:
			t.Errorf("%s: %s, %s %s", first.Tuple, path, j.Verdict.Result, reason)
		}
	}
	for _, want := range []string{
		"SYN: late #1 answers it in the server's place (SYN proxy): the server is asked when the client has answered that",
		"ACK: likely late #1 took it: the client answers the SYN proxy, which now asks the server",
		"SYN-ACK: the SYN proxy of host took it: the client has its answer already, and from the number in that conntrack counts on",
	} {
		if took[want] != 1 {
			t.Errorf("%q not once in %v", want, took)
		}
	}
	if said < 4 {
		t.Errorf("%d packets with data or an end, want 4", said)
	}
}

// TestDatagramsOfAHelper: SIP's helper puts the host's address into what a container
// sends, in packets that have no identification.
func TestDatagramsOfAHelper(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	b, err := newBox("phone", 99) // 172.17.1.100
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.remove(); err != nil {
			t.Error(err)
		}
	})
	ruling(t, `ct helper sip { type "sip" protocol udp; }
		chain test { type filter hook prerouting priority 0; udp dport 5060 ct helper set "sip"; }`)
	server := netip.AddrPortFrom(lab.ServerAddress, 5060)
	echoAt(t, h.Internet(), server)
	w := startWatch(t, Config{})
	c, err := lab.DialUDP(b.ns, netip.AddrPortFrom(netip.IPv4Unspecified(), 5060), server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	said := "OPTIONS sip:" + server.String() + " SIP/2.0\r\nVia: SIP/2.0/UDP 172.17.1.100:5060;branch=z9hG4bK1\r\n" +
		"From: <sip:a@172.17.1.100>;tag=1\r\nTo: <sip:b@198.51.100.7>\r\nCall-ID: 1@172.17.1.100\r\nCSeq: 1 OPTIONS\r\n" +
		"Contact: <sip:a@172.17.1.100:5060>\r\nContent-Length: 0\r\n\r\n"
	heard, err := lab.Exchange(t.Context(), c, []byte(said))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(heard), "Via: SIP/2.0/UDP 192.0.2.10:5060") {
		t.Fatalf("the server heard %q", heard)
	}
	for name, want := range map[string]string{
		"phone": "phone/eth0:out host/vethbox99:in host/docker0:in host/eth0:out", "internet": "host/eth0:in host/docker0:out host/vethbox99:out phone/eth0:in",
	} {
		j := w.journey("of "+name, func(j *trace.Journey) bool { return j.Protocol == packet.UDP && j.From.Name == name })
		change := j.Hops[3].Headers.Length - j.Hops[0].Headers.Length
		if note := fmt.Sprintf("a helper of host's connection tracking rewrote it: length %+d", int32(change)); pathOf(j) != want || strings.Join(j.Notes, "; ") != note || change == 0 {
			t.Errorf("%s, notes %q, want %s, %q", pathOf(j), j.Notes, want, note)
		}
	}
}
