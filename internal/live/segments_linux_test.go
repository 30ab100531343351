package live

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// offload switches a feature of a link with ethtool(8), which some kernels can't.
func offload(t *testing.T, in *netns.Handle, link, feature, value string) {
	t.Helper()
	path, err := exec.LookPath("ethtool")
	if err != nil {
		t.Skip("needs ethtool")
	}
	var out []byte
	if err := in.Do(func() error {
		out, err = exec.Command(path, "-K", link, feature, value).CombinedOutput()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("needs a link that can set %s: %v: %s", feature, err, out)
	}
}

// segmenting makes the socket hand several datagrams of a size over at once
// (udp(7), UDP_SEGMENT).
func segmenting(t *testing.T, c *net.UDPConn, size int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	}), err); err != nil {
		t.Skipf("needs UDP_SEGMENT: %v", err)
	}
}

// TestDatagramsCutAtTheUplink: one packet at the container and at the bridge,
// several datagrams where the link can't cut them. The packet need not be larger
// than the link takes.
func TestDatagramsCutAtTheUplink(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	offload(t, h.Namespace(), "eth0", "tx-udp-segmentation", "off")
	t.Cleanup(func() { offload(t, h.Namespace(), "eth0", "tx-udp-segmentation", "on") })
	for _, c := range []struct {
		name        string
		port        uint16
		size, total int
	}{{"large", 5303, 1000, 4500}, {"small", 5307, 400, 1300}} {
		t.Run(c.name, func(t *testing.T) {
			at := netip.AddrPortFrom(lab.ServerAddress, c.port)
			sink, err := lab.ListenUDP(h.Internet(), at)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			u, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, at)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			const packets = 3
			pieces := (c.total + c.size - 1) / c.size
			segmenting(t, u, c.size)
			w := startWatch(t, Config{})
			for i := range packets {
				if _, err := u.Write([]byte(strings.Repeat(fmt.Sprintf("natlens%d", i), 1000)[:c.total])); err != nil {
					t.Fatal(err)
				}
			}
			w.until("all of them", func() bool { return w.session.Summary().Observations >= uint64(packets*(3+pieces)) })
			w.until("their journeys", func() bool { return w.session.Summary().Journeys >= packets })
			if n := w.end(); n.Unpaired != 0 {
				t.Errorf("%d unpaired\n%s", n.Unpaired, w.account())
			}
			path := "back/eth0:out host/" + back.HostLink + ":in host/docker0:in" + strings.Repeat(" host/eth0:out", pieces)
			journeys := w.all(func(j *trace.Journey) bool {
				return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == at.Port()
			})
			if len(journeys) != packets {
				t.Fatalf("%d journeys, want %d\n%s", len(journeys), packets, w.account())
			}
			for _, j := range journeys {
				said := *j
				if len(j.Notes) != 1 || !strings.HasPrefix(j.Notes[0], "one packet until eth0, which sends it as several: ") {
					t.Errorf("notes %q", j.Notes)
				}
				said.Notes = nil
				expect(t, &said, path, "masquerade[2 3] by POSTROUTING [conntrack]", trace.Left)
				for k, hop := range j.Hops[3:] {
					if hop.Part == nil || hop.Part.Index != k || hop.Part.Of != pieces || hop.Part.Offset != uint32(k*c.size) {
						t.Errorf("piece %d: %+v", k, hop.Part)
					}
				}
			}
			// The other end got what was sent.
			buffer := make([]byte, 2*c.size)
			for i := range packets * pieces {
				n, err := sink.Read(buffer)
				if want := min(c.size, c.total-i%pieces*c.size); err != nil || n != want {
					t.Fatalf("datagram %d: %d bytes, %v; want %d", i, n, err, want)
				}
			}
		})
	}
}

// merging makes a container's link cut what it sends, and the host's end of it
// merge what comes (generic receive offload of a veth, in its NAPI poll).
func merging(t *testing.T, h *lab.Host, c *lab.Container, cut, merge string) {
	t.Helper()
	offload(t, c.Namespace(), "eth0", cut, "off")
	t.Cleanup(func() { offload(t, c.Namespace(), "eth0", cut, "on") })
	offload(t, h.Namespace(), c.HostLink, "gro", "on")
	t.Cleanup(func() { offload(t, h.Namespace(), c.HostLink, "gro", "off") })
	if merge != "" {
		offload(t, h.Namespace(), c.HostLink, merge, "on")
		t.Cleanup(func() { offload(t, h.Namespace(), c.HostLink, merge, "off") })
	}
}

// TestDatagramsMergedByTheVeth: several datagrams at the container, one packet on
// the host. How many are merged depends on how they come; none may be lost for it.
func TestDatagramsMergedByTheVeth(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	merging(t, h, back, "tx-udp-segmentation", "rx-udp-gro-forwarding")
	for _, c := range []struct {
		name        string
		port        uint16
		size, total int
	}{{"large", 5304, 1000, 4500}, {"small", 5308, 400, 1300}} {
		t.Run(c.name, func(t *testing.T) {
			at := netip.AddrPortFrom(lab.ServerAddress, c.port)
			sink, err := lab.ListenUDP(h.Internet(), at)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			u, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, at)
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			pieces := (c.total + c.size - 1) / c.size
			segmenting(t, u, c.size)
			w := startWatch(t, Config{})
			if _, err := u.Write([]byte(strings.Repeat("natlens ", 1000)[:c.total])); err != nil {
				t.Fatal(err)
			}
			datagram := func(j *trace.Journey) bool {
				return j.Protocol == packet.UDP && j.Hops[0].Headers.Tuple.DestinationPort == at.Port()
			}
			w.until("all of them", func() bool { return w.session.Summary().Journeys >= uint64(pieces) })
			if n := w.end(); n.Unpaired != 0 {
				t.Errorf("%d unpaired\n%s", n.Unpaired, w.account())
			}
			merged := 0
			for _, j := range w.all(datagram) {
				if pathOf(j) != "back/eth0:out host/"+back.HostLink+":in host/docker0:in host/eth0:out" || j.Verdict.Result != trace.Left {
					t.Errorf("%s: %+v", pathOf(j), j.Verdict)
					continue
				}
				if j.Hops[1].Headers.PayloadLength > j.Hops[0].Headers.PayloadLength {
					merged++
				}
			}
			if n := len(w.all(datagram)); n != pieces || merged == 0 {
				t.Errorf("%d journeys, want %d; %d were merged\n%s", n, pieces, merged, w.account())
			}
		})
	}
}

// swallow takes one connection at the server's port and tells how many bytes came.
func swallow(t *testing.T, h *lab.Host, port uint16) (read chan int64) {
	t.Helper()
	web, err := lab.ListenTCP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { web.Close() })
	read = make(chan int64, 1)
	go func() {
		conn, err := web.Accept()
		if err != nil {
			read <- 0
			return
		}
		n, _ := io.Copy(io.Discard, conn)
		conn.Close()
		read <- n
	}()
	return read
}

// TestSegmentsMergedByTheVeth: the same for TCP.
func TestSegmentsMergedByTheVeth(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	merging(t, h, back, "tso", "")
	const total = 40_000
	read := swallow(t, h, 5305)
	w := startWatch(t, Config{})
	c, err := lab.DialTCP(t.Context(), back.Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, 5305))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(strings.Repeat("natlens!", total/8))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.CloseWrite(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != total {
		t.Fatalf("%d bytes arrived, want %d", n, total)
	}
	data := func(j *trace.Journey) bool {
		h := &j.Hops[0].Headers
		return j.Protocol == packet.TCP && h.Tuple.DestinationPort == 5305 && h.PayloadLength > 0
	}
	w.until("all data", func() bool {
		sum := uint32(0)
		for _, j := range w.journeys {
			if data(j) && j.Supersedes == 0 {
				sum += j.Hops[0].Headers.PayloadLength
			}
		}
		return sum >= total
	})
	w.end()
	merged := 0
	for _, j := range w.all(data) {
		if j.Verdict.Result != trace.Left {
			t.Errorf("%s: %+v", pathOf(j), j.Verdict)
		}
		if len(j.Hops) > 1 && j.Hops[1].Headers.PayloadLength > j.Hops[0].Headers.PayloadLength {
			merged++
		}
	}
	if merged == 0 {
		t.Errorf("nothing was merged\n%s", w.account())
	}
}
