package live

import (
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// TestSegmentsLostAndSentAgain: a rule drops large segments, which are sent again. As
// many bytes are last seen in front of the rule as it counted, and what passed the uplink
// is of one packet, or of those that were merged.
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
			filtering(t, "forward", "tcp dport "+strconv.Itoa(int(c.port))+" meta length > 2800 numgen inc mod 3 0 counter drop")
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
			lost, header := uint32(0), uint32(0)
			passed, told := map[int64]int{}, map[int64]int{} // by the time at the uplink
			for _, j := range data {
				if replaced[j.ID] {
					continue
				}
				first := &j.Hops[0].Headers
				header = first.Length - first.PayloadLength
				if strings.Contains(strings.Join(j.Notes, " "), "ambiguous") {
					t.Errorf("%q", j.Notes)
				}
				if j.Verdict.Result != trace.Left {
					lost += first.PayloadLength
				}
				for i := range j.Hops {
					if hop := &j.Hops[i]; hop.Interface == "eth0" && hop.Namespace == "host" {
						passed[hop.Time]++
						told[hop.Time] = hop.MergedWith + 1
						if j.Verdict.Result != trace.Left {
							t.Errorf("%s, which was seen at the uplink", j.Verdict.Result)
						}
					}
				}
			}
			packets, bytes := dropCount(t)
			if want := bytes - packets*header; lost != want || packets == 0 {
				t.Errorf("%d bytes of data were lost in %d packets, want %d\n%s", lost, packets, want, w.account())
			}
			for at, n := range passed {
				if n != told[at] {
					t.Errorf("%d journeys share a packet that is told to be %d", n, told[at])
				}
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
