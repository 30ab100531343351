package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab/engine"
)

// sizes are what a program hands over in one packet: more than a link takes, and
// less.
var sizes = []struct {
	name       string
	each, all  int
	pieces     int
	port, from uint16
}{{"large", 1000, 4500, 5, 5401, 36101}, {"small", 400, 1300, 4, 5402, 36102}}

// dualSegments is a host with a container "web", both with IPv4 and IPv6, and two
// addresses of the internet to send to.
func dualSegments(t *testing.T) (e *engine.Engine, to map[string]netip.Addr) {
	e = engine.Start(t, "--experimental", "--ipv6", "--fixed-cidr-v6", "fd00:1::/64", "--ip6tables", "--userland-proxy=false")
	connect6(t, e)
	e.Run("--name", "web", "box")
	ready6(t, e)
	return e, map[string]netip.Addr{"IPv4": internet, "IPv6": world6}
}

// offload switches what a link does with packets that are larger than it takes, or
// many.
func offload(t *testing.T, e *engine.Engine, container, link, feature, state string) {
	t.Helper()
	if container != "" {
		must(t, e.CommandIn(container, "ethtool", "-K", link, feature, state))
		return
	}
	must(t, e.Command("ethtool", "-K", link, feature, state))
}

// inOnePacket makes the socket hand several datagrams of a size over at once (udp(7),
// UDP_SEGMENT).
func inOnePacket(t *testing.T, u *net.UDPConn, size int) {
	t.Helper()
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
	}), err); err != nil {
		t.Skipf("needs UDP_SEGMENT: %v", err)
	}
}

// trainCase is a case of datagrams to one port, which tcpdump sees on the host and
// in "web".
type trainCase struct {
	t     *testing.T
	watch *watch
	port  uint16
	rows  map[string]func() [][]string // by namespace
}

func startTrains(t *testing.T, e *engine.Engine, port uint16) *trainCase {
	t.Helper()
	c := &trainCase{t: t, port: port, rows: map[string]func() [][]string{}}
	filter := fmt.Sprintf("udp dst port %d", port)
	fields := []string{"sll.ifindex", "sll.pkttype", "ip.src", "ipv6.src", "ip.len", "ipv6.plen"}
	c.rows["host"] = oracletest.Rows(t, e.Command, filter, fields...)
	c.rows["web"] = oracletest.Rows(t, inContainer(e, "web"), filter, fields...)
	c.watch = startWatch(t, e, "--json", "udp")
	return c
}

// end returns the journeys to the port. Their hops are exactly the packets that
// tcpdump saw: where, from whom and of what size. What was merged is one packet.
func (c *trainCase) end() []*journey {
	c.t.Helper()
	time.Sleep(300 * time.Millisecond)
	all, sum := c.watch.journeys()
	if sum.RingDrops+sum.QueueDrops+sum.Evicted > 0 {
		c.t.Errorf("lost something: %+v", sum)
	}
	picked := with(all, func(j *journey) bool { return j.Protocol == "udp" && j.Hops[0].Destination.Port == c.port })
	once := map[string]bool{}
	got := map[string][]string{}
	for _, j := range picked {
		for _, h := range j.Hops {
			row := fmt.Sprintf("if%d %s from %s %d B", h.Ifindex, h.Direction, h.Source.IP, h.Length)
			if key := h.Namespace + row + h.Time.String(); !once[key] {
				once[key] = true
				got[h.Namespace] = append(got[h.Namespace], row)
			}
		}
	}
	for ns, stop := range c.rows {
		var want []string
		for _, row := range stop() {
			way := map[bool]string{true: "out", false: "in"}[row[1] == "4"]
			size := row[4]
			if row[5] != "" {
				n, err := strconv.Atoi(row[5])
				if err != nil {
					c.t.Fatal(err)
				}
				size = strconv.Itoa(n + 40)
			}
			want = append(want, fmt.Sprintf("if%s %s from %s %s B", row[0], way, row[2]+row[3], size))
		}
		slices.Sort(got[ns])
		slices.Sort(want)
		if !slices.Equal(got[ns], want) || len(want) == 0 {
			c.t.Errorf("%s: hops\n%s\ntshark\n%s", ns, strings.Join(got[ns], "\n"), strings.Join(want, "\n"))
		}
	}
	return picked
}

// Several datagrams that a program hands over in one packet are one until the
// uplink, which can't cut them itself.
func TestCaseDatagramsCutAtTheUplink(t *testing.T) {
	e, to := dualSegments(t)
	offload(t, e, "", "eth0", "tx-udp-segmentation", "off")
	for family, address := range to {
		for _, size := range sizes {
			t.Run(family+", "+size.name, func(t *testing.T) {
				l := &load{t: t, e: e}
				l.hearUDP(e.Internet(), netip.AddrPortFrom(address, size.port))
				c := startTrains(t, e, size.port)
				u := dialUDP(t, e, size.from, netip.AddrPortFrom(address, size.port))
				inOnePacket(t, u, size.each)
				const packets = 3
				for range packets {
					_, err := u.Write(l.words(size.all))
					l.must(err)
				}
				found := c.end()
				if len(found) != packets {
					t.Fatalf("%d journeys, want %d", len(found), packets)
				}
				for _, j := range found {
					same(t, "places", vethNamed(places(j)), fmt.Sprintf("web:eth0 out, host:VETH in, host:docker0 in, host:eth0 out ×%d", size.pieces))
					same(t, "end", j.End(), "left at host:eth0 out")
					same(t, "notes", noteOf(j), "one packet until eth0, which sends it as several: the kernel moves them together and cuts as late as it can (segmentation offload)")
					if len(j.Translations) != 1 || j.Translations[0].Kind != "masquerade" || j.Translations[0].Evidence != "conntrack" {
						t.Errorf("translations %+v", j.Translations)
					}
					for i, h := range j.Hops[3:] {
						if h.Part == nil || h.Part.Index != i || h.Part.Of != size.pieces || h.Part.Offset != i*size.each {
							t.Errorf("piece %d: %+v", i, h.Part)
						}
					}
				}
			})
		}
	}
}

// dialUDP opens a socket of web's until the test ends.
func dialUDP(t *testing.T, e *engine.Engine, from uint16, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	if to.Addr().Is6() {
		return dial6(t, e.Namespace("web"), from, to.Addr().String(), to.Port())
	}
	var u *net.UDPConn
	if err := e.Namespace("web").Do(func() (err error) {
		u, err = net.DialUDP("udp4", &net.UDPAddr{Port: int(from)}, net.UDPAddrFromAddrPort(to))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

// Where the container's link cuts and the host's end of the cable merges, each
// datagram has a journey of its own, and the merged packet is a hop of each.
func TestCaseDatagramsMergedByTheVeth(t *testing.T) {
	e, to := dualSegments(t)
	veth := vethOf(t, e, "web", "eth0")
	offload(t, e, "web", "eth0", "tx-udp-segmentation", "off")
	offload(t, e, "", veth, "gro", "on")
	offload(t, e, "", veth, "rx-udp-gro-forwarding", "on")
	for family, address := range to {
		for _, size := range sizes {
			t.Run(family+", "+size.name, func(t *testing.T) {
				l := &load{t: t, e: e}
				l.hearUDP(e.Internet(), netip.AddrPortFrom(address, size.port))
				c := startTrains(t, e, size.port)
				u := dialUDP(t, e, size.from, netip.AddrPortFrom(address, size.port))
				inOnePacket(t, u, size.each)
				_, err := u.Write(l.words(size.all))
				l.must(err)
				found := c.end()
				if len(found) != size.pieces {
					t.Fatalf("%d journeys, want %d", len(found), size.pieces)
				}
				merged := 0
				for _, j := range found {
					same(t, "places", vethNamed(places(j)), "web:eth0 out, host:VETH in, host:docker0 in, host:eth0 out")
					same(t, "end", j.End(), "left at host:eth0 out")
					if j.Hops[1].Length > j.Hops[0].Length {
						merged++
						says(t, "notes", noteOf(j), "is the first to show it as one with", "generic receive offload")
					}
				}
				if merged == 0 {
					t.Error("nothing was merged")
				}
			})
		}
	}
}

// TCP is cut and merged by its sequence numbers, of IPv6, too.
func TestCaseSegmentsOfBothFamilies(t *testing.T) {
	e, to := dualSegments(t)
	l := &cast{load: &load{t: t, e: e}}
	veth := vethOf(t, e, "web", "eth0")
	for _, way := range []struct {
		name              string
		container, link   string
		features, restore []string
		port              uint16
	}{
		{"cut at the uplink", "", "eth0", []string{"tso", "gso"}, nil, 8010},
		{"merged by the veth", "web", "eth0", []string{"tso"}, nil, 8020},
	} {
		for family, address := range to {
			t.Run(way.name+", "+family, func(t *testing.T) {
				for _, f := range way.features {
					offload(t, e, way.container, way.link, f, "off")
					defer offload(t, e, way.container, way.link, f, "on")
				}
				if way.container != "" {
					offload(t, e, "", veth, "gro", "on")
					defer offload(t, e, "", veth, "gro", "off")
				}
				l.t = t
				l.swallowAt(e.Internet(), netip.AddrPortFrom(address, way.port))
				c := startExactCase(t, e, "web")
				l.send("split", e.Namespace("web"), netip.AddrPortFrom(address, way.port), 300_000)
				data := with(c.endAll(), func(j *journey) bool {
					return j.From.Name == "web" && j.To.Port == way.port && j.Hops[0].Length > 200
				})
				n := 0
				for _, j := range data {
					first, last := j.Hops[0], j.Hops[len(j.Hops)-1]
					if j.End() != "left at host:eth0 out" || len(j.Translations) != 1 || j.Translations[0].Kind != "masquerade" {
						t.Errorf("%s, translations %+v: %s", j.End(), j.Translations, places(j))
					}
					if way.container == "" && last.Part != nil && last.Part.Of > 1 && last.Length <= 1500 || way.container != "" && len(j.Hops) > 1 && j.Hops[1].Length > first.Length {
						n++
					}
				}
				if n == 0 {
					t.Errorf("none of %d journeys was %s", len(data), way.name)
				}
				t.Logf("%d of %d journeys were %s", n, len(data), way.name)
			})
		}
	}
}
