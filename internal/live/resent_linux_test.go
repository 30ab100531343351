package live

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// TestSegmentsLostAndSentAgain: a rule drops large segments, or the uplink takes them only
// when they are cut smaller, and they are sent again. As many bytes are last seen in front
// of that as were lost, and what passed the uplink is of one packet, or of those that were
// merged.
func TestSegmentsLostAndSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		port uint16
		set  func(*testing.T, *lab.Host)
	}{
		"cut": {5321, func(t *testing.T, h *lab.Host) {
			for _, feature := range []string{"tso", "gso"} {
				offload(t, h.Namespace(), "eth0", feature, "off")
			}
		}},
		"too large": {5325, func(t *testing.T, h *lab.Host) {
			for _, feature := range []string{"tso", "gso"} {
				offload(t, h.Namespace(), "eth0", feature, "off")
			}
			if err := h.Namespace().Do(func() error {
				return exec.Command("ip", "link", "set", "eth0", "mtu", "1400").Run()
			}); err != nil {
				t.Fatal(err)
			}
		}},
		"merged": {5322, func(t *testing.T, h *lab.Host) {
			back := h.Find("back")
			merging(t, h, back, "tso", "")
			offload(t, back.Namespace(), "eth0", "gso", "off")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			h := dockerHost(t)
			c.set(t, h)
			const total = 120_000
			read := swallow(t, h, c.port)
			ruled := name != "too large"
			if ruled {
				filtering(t, "forward", "tcp dport "+strconv.Itoa(int(c.port))+" meta length > 2800 numgen inc mod 3 0 counter drop")
			}
			w := startWatch(t, Config{})
			conn, err := lab.DialTCP(t.Context(), h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, c.port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(strings.Repeat("natlens!", total/8))); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if n := <-read; n != total {
				t.Fatalf("%d bytes arrived, want %d", n, total)
			}
			w.end()
			data := w.all(func(j *trace.Journey) bool {
				first := &j.Hops[0].Headers
				return j.Protocol == packet.TCP && first.Tuple.DestinationPort == c.port && first.PayloadLength > 0
			})
			replaced := map[uint64]bool{}
			for _, j := range data {
				replaced[j.Supersedes] = true
			}
			sent, left, lost, header := uint32(0), uint32(0), uint32(0), uint32(0)
			type frame struct { // at the uplink
				at  int64
				seq uint32
			}
			passed, told := map[frame]int{}, map[frame]int{}
			for _, j := range data {
				if replaced[j.ID] {
					continue
				}
				first := &j.Hops[0].Headers
				header = first.Length - first.PayloadLength
				sent += first.PayloadLength
				if strings.Contains(strings.Join(j.Notes, " "), "ambiguous") {
					t.Errorf("%q", j.Notes)
				}
				if j.Verdict.Result != trace.Left {
					lost += first.PayloadLength
				}
				for i := range j.Hops {
					if hop := &j.Hops[i]; hop.Interface == "eth0" && hop.Namespace == "host" {
						f := frame{hop.Time, hop.Headers.TCPSeq}
						if passed[f]++; passed[f] == 1 {
							left += hop.Headers.PayloadLength
						}
						told[f] = hop.MergedWith + 1
						if j.Verdict.Result != trace.Left {
							t.Errorf("%s, which was seen at the uplink", j.Verdict.Result)
						}
					}
				}
			}
			if lost != sent-left || lost == 0 {
				t.Errorf("%d bytes of data were lost, want %d\n%s", lost, sent-left, w.account())
			}
			if ruled {
				if packets, bytes := dropCount(t); lost != bytes-packets*header {
					t.Errorf("%d bytes of data were lost, the rule dropped %d in %d packets", lost, bytes-packets*header, packets)
				}
			}
			for f, n := range passed {
				if n != told[f] {
					t.Errorf("%d journeys share a packet that is told to be %d", n, told[f])
				}
			}
		})
	}
}

// TestConnectionsBegunAndEndedAgain: a SYN or a FIN that a rule drops is sent again, and
// each says which one was before.
func TestConnectionsBegunAndEndedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		port uint16
		flag uint8
		wait time.Duration
	}{
		"syn": {5323, packet.SYN, 3 * time.Second},
		"fin": {5324, packet.FIN, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			leak.Check(t)
			h := dockerHost(t)
			if c.flag == packet.FIN { // of which a server that accepts nothing is not to be told
				web, err := lab.ListenTCP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, c.port))
				if err != nil {
					t.Fatal(err)
				}
				defer web.Close()
			}
			filtering(t, "forward", fmt.Sprintf("tcp dport %d tcp flags & %s == %s counter drop", c.port, name, name))
			w := startWatch(t, Config{})
			ctx, cancel := context.WithTimeout(t.Context(), c.wait)
			defer cancel()
			conn, err := lab.DialTCP(ctx, h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, c.port))
			if err == nil {
				err = conn.CloseWrite()
				defer conn.Close()
			}
			if failed := err != nil; failed != (c.flag == packet.SYN) {
				t.Fatal(err)
			}
			<-ctx.Done()
			if conn != nil { // without another FIN between what is counted and what is watched
				if err := conn.SetLinger(0); err != nil {
					t.Fatal(err)
				}
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
			packets, _ := dropCount(t)
			w.end()
			last, n := uint64(0), uint32(0)
			for _, j := range w.all(func(j *trace.Journey) bool {
				first := &j.Hops[0].Headers
				return j.Protocol == packet.TCP && first.Tuple.DestinationPort == c.port && first.TCPFlags&c.flag != 0 && j.Supersedes == 0
			}) {
				if n++; n == 1 && len(j.Related) != 0 || n > 1 && !slices.Contains(j.Related, trace.Relation{ID: last, Why: "retransmission_of"}) {
					t.Errorf("#%d is related to %v, want #%d", j.ID, j.Related, last)
				}
				last = j.ID
			}
			if n != packets || n < 2 {
				t.Errorf("%d journeys, of %d that were dropped\n%s", n, packets, w.account())
			}
		})
	}
}

// dropCount is what the only rule has counted.
func dropCount(t *testing.T) (packets, bytes uint32) {
	t.Helper()
	out, err := exec.Command("nft", "list", "table", "ip", testTable).CombinedOutput()
	m := regexp.MustCompile(`counter packets (\d+) bytes (\d+)`).FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	b, err := strconv.Atoi(string(m[2]))
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n), uint32(b)
}
