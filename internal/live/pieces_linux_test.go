package live

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"natlens/capture/packet"
	"natlens/internal/lab"
	"natlens/internal/leak"
	"natlens/trace"
)

// bridgeNetfilter sets whether IPv4 on bridges passes the rules of IP, until the
// test ends.
func bridgeNetfilter(t *testing.T, h *lab.Host, value string) {
	t.Helper()
	const path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	var was []byte
	set := func(value []byte) error {
		return h.Namespace().Do(func() (err error) {
			if was, err = os.ReadFile(path); err != nil {
				return err
			}
			return os.WriteFile(path, value, 0)
		})
	}
	if err := set([]byte(value)); err != nil {
		t.Skipf("needs to set %s: %v", path, err)
	}
	before := was
	t.Cleanup(func() {
		if err := set(before); err != nil {
			t.Error(err)
		}
	})
}

// TestFragments: a ping that is larger than the links is in pieces, but whole where
// bridge netfilter has put it together.
func TestFragments(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	back := h.Find("back")
	for i, filtered := range []string{"1", "0"} {
		t.Run("bridge-nf-call-iptables="+filtered, func(t *testing.T) {
			bridgeNetfilter(t, h, filtered)
			id := uint16(60 + i)
			w := startWatch(t, Config{})
			if _, err := lab.Ping(t.Context(), back.Namespace(), lab.ServerAddress, lab.Echo{ID: id, Seq: 1, Payload: []byte(strings.Repeat("natlens ", 500))}); err != nil {
				t.Fatal(err)
			}
			of := func(kind uint8) func(*trace.Journey) bool {
				return func(j *trace.Journey) bool {
					return j.Protocol == packet.ICMP && j.Hops[0].Headers.ICMPID == id && j.Hops[0].Headers.ICMPType == kind
				}
			}
			bridge, note := "host/docker0:in ×3", ""
			if filtered == "1" {
				bridge, note = "host/docker0:in", "whole at docker0: the kernel puts fragments together before it asks its rules, and cuts again what a link does not take"
			}
			for kind, want := range map[uint8]string{
				8: "back/eth0:out ×3, host/" + back.HostLink + ":in ×3, " + bridge + ", host/eth0:out ×3 | masquerade | left | " + note,
				0: "host/eth0:in ×3, host/docker0:out ×3, host/" + back.HostLink + ":out ×3, back/eth0:in ×3 | masquerade | delivered | ",
			} {
				j := w.journey(fmt.Sprintf("an echo of type %d", kind), of(kind))
				var places []string
				pieces := map[string]int{}
				for _, hop := range j.Hops {
					at := fmt.Sprintf("%s/%s:%s", hop.Namespace, hop.Interface, hop.Point.Direction)
					if !slices.Contains(places, at) {
						places = append(places, at)
					}
					pieces[at]++
					if p := hop.Part; p != nil && (p.Of != 3 || p.Offset != uint32(1480*p.Index)) {
						t.Errorf("piece at %s: %+v", at, p)
					}
				}
				for i, at := range places {
					if n := pieces[at]; n > 1 {
						places[i] = fmt.Sprintf("%s ×%d", at, n)
					}
				}
				got := strings.Join(places, ", ")
				for _, tr := range j.Translations {
					got += " | " + tr.Kind
				}
				if got += fmt.Sprintf(" | %s | %s", j.Verdict.Result, strings.Join(j.Notes, "; ")); got != want {
					t.Errorf("type %d\n got %s\nwant %s", kind, got, want)
				}
			}
			if n := w.end(); n.Unpaired != 0 {
				t.Errorf("%d unpaired\n%s", n.Unpaired, w.account())
			}
		})
	}
}

// TestSegmentsCutAtTheUplink: TCP data is larger than the link takes until there.
func TestSegmentsCutAtTheUplink(t *testing.T) {
	leak.Check(t)
	h := dockerHost(t)
	for _, feature := range []string{"tso", "gso"} {
		offload(t, h.Namespace(), "eth0", feature, "off")
		t.Cleanup(func() { offload(t, h.Namespace(), "eth0", feature, "on") })
	}
	const port, total = 5309, 40_000
	read := swallow(t, h, port)
	w := startWatch(t, Config{})
	c, err := lab.DialTCP(t.Context(), h.Find("back").Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(strings.Repeat("natlens!", total/8))); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-read; n != total {
		t.Fatalf("%d bytes arrived, want %d", n, total)
	}
	data := func(j *trace.Journey) bool {
		first := &j.Hops[0].Headers
		return j.Protocol == packet.TCP && first.Tuple.DestinationPort == port && first.PayloadLength > 0
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
	cut := 0
	for _, j := range w.all(data) {
		if j.Verdict.Result != trace.Left {
			t.Errorf("%s: %+v", pathOf(j), j.Verdict)
		}
		sum, pieces := uint32(0), 0
		for _, hop := range j.Hops {
			if hop.Interface == "eth0" && hop.Namespace == "host" {
				sum += hop.Headers.PayloadLength
				pieces++
			}
		}
		if sum != j.Hops[0].Headers.PayloadLength {
			t.Errorf("%d bytes left, %d were sent: %s", sum, j.Hops[0].Headers.PayloadLength, pathOf(j))
		}
		if pieces > 1 {
			cut++
		}
	}
	if cut == 0 {
		t.Errorf("nothing was cut\n%s", w.account())
	}
}
