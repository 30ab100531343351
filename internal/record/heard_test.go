package record_test

import (
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/internal/record"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/netinfo/netns"
	"natlens/trace"
)

// deck is a watch without a host: what the test tells a Tape.
type deck struct {
	recorded
	t    *testing.T
	tape *record.Tape
	now  int64
	// asked is what the correlator would know of sockets.
	asked []trace.SocketQuery
}

const aside netns.ID = 2

var deckHost, deckPeer = netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.7")

func newDeck(t *testing.T, config record.Config) *deck {
	t.Helper()
	d := &deck{t: t, now: 1_790_000_000_000_000_000}
	dir := t.TempDir()
	config.Open = func(int) (io.WriteCloser, error) {
		d.paths = append(d.paths, filepath.Join(dir, "tape.pcapng"+string(rune('0'+len(d.paths)))))
		return os.Create(d.paths[len(d.paths)-1])
	}
	var err error
	d.tape, err = record.NewTape(config)
	must(t, err)
	c := trace.New(64, trace.Sink{Journey: func(j *trace.Journey) {
		d.journeys = append(d.journeys, asJSON(t, j))
		d.tape.Journey(j)
	}, Socket: func(q trace.SocketQuery) { d.asked = append(d.asked, q) }})
	d.tape.AttachTo(c)
	c.AwaitFlows()
	host := &netinfo.Topology{Number: 1, Time: time.Unix(0, d.now), Self: 1}
	for _, id := range []netns.ID{1, aside} {
		host.Namespaces = append(host.Namespaces, &netinfo.Namespace{ID: id, Name: map[netns.ID]string{1: "host", aside: "aside"}[id], Links: []*netinfo.Link{{
			Key: netinfo.LinkKey{Namespace: id, Index: 2}, Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, Addresses: []netip.Prefix{netip.PrefixFrom(deckHost, 24)},
		}}})
	}
	d.tape.SetTopology(host.Seal())
	d.tape.Watch(1, 1)
	d.tape.Watch(aside, 1)
	return d
}

// datagram is seen coming in by a namespace's eth0.
func (d *deck) datagram(to netns.ID, port uint16) capture.Observation {
	d.t.Helper()
	return d.datagramFor(deckHost, to, port)
}

// datagramFor is datagram with another destination.
func (d *deck) datagramFor(address netip.Addr, to netns.ID, port uint16) capture.Observation {
	d.t.Helper()
	d.now += int64(time.Millisecond)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: port, Protocol: layers.IPProtocolUDP, SrcIP: deckPeer.AsSlice(), DstIP: address.AsSlice()}
	udp := &layers.UDP{SrcPort: 5, DstPort: layers.UDPPort(port)}
	must(d.t, udp.SetNetworkLayerForChecksum(ip))
	b := gopacket.NewSerializeBuffer()
	must(d.t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}, ip, udp, gopacket.Payload("x")))
	o := capture.Observation{Time: d.now, Namespace: to, Ifindex: 2, Type: capture.Host, WireLength: uint32(len(b.Bytes())), Data: b.Bytes()}
	o.Headers.Parse(packet.Ethernet, o.Data, o.WireLength)
	o.Fingerprint = packet.Fingerprint(&o.Headers, o.Data)
	return o
}

// flow is the entry of a datagram.
func deckFlow(id uint32, port uint16) netfilter.Flow {
	asked := packet.NewTuple(packet.UDP, deckPeer, deckHost, 5, port)
	return netfilter.Flow{Namespace: 1, ID: id, Original: asked, Reply: asked.Inverse()}
}

// pass lets time pass at the rings, and at connection tracking where that is
// listened to.
func (d *deck) pass(by time.Duration, heard bool, seen ...capture.Observation) {
	d.now += int64(by)
	if heard {
		d.tape.AddFlows(&netfilter.Batch{Through: d.now})
	}
	d.tape.Observe(&capture.Batch{Observations: seen, Through: d.now})
}

func (d *deck) end(want ...string) {
	d.t.Helper()
	d.tape.Flush()
	must(d.t, d.tape.Err())
	var got []string
	for _, j := range d.journeys {
		v := j["verdict"].(map[string]any)
		got = append(got, v["result"].(string)+" by "+v["evidence"].(string))
	}
	if len(got) != len(want) {
		d.t.Fatalf("%q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			d.t.Errorf("%q, want %q", got[i], want[i])
		}
	}
	d.counters = d.tape.Counters()
	d.same(d.t, play(d.t, d.paths...))
}

// Connection tracking that comes too late for the pairing is in time for the record,
// also of a file; what it never told is not known there either.
func TestConntrackThatIsLateReadsTheSame(t *testing.T) {
	for name, atTheEnd := range map[string]bool{"under way": false, "at the end": true} {
		t.Run(name, func(t *testing.T) {
			d := newDeck(t, record.Config{Others: true})
			d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.Known, Flow: deckFlow(1, 1), After: d.now, Before: d.now}}})
			d.pass(time.Millisecond, true)
			began := d.now
			d.pass(1500*time.Millisecond, false, d.datagram(1, 7)) // longer than a packet waits
			d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.New, Flow: deckFlow(2, 7), After: began, Before: began + 5e6}}})
			if atTheEnd {
				d.end("delivered by conntrack")
				return
			}
			d.pass(4*time.Second, true)
			d.datagram(1, 8)
			d.pass(5*time.Second, false, d.datagram(1, 8))
			d.pass(5*time.Second, false)
			d.end("delivered by conntrack", "unfinished by tap")
		})
	}
}

// That the kernel tells no events, and that it does again, is known from a file as it
// was live; also from a later file alone.
func TestSilentConntrackReadsTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true, Every: 9 * time.Second})
	d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Events: []netfilter.Event{{Kind: netfilter.Known, Flow: deckFlow(1, 1), After: d.now, Before: d.now}}})
	d.pass(time.Millisecond, true)
	for i, silent := range []bool{true, true, false} {
		d.tape.AddFlows(&netfilter.Batch{Namespace: 1, Synced: true, Silent: silent})
		d.pass(5*time.Second, true, d.datagram(1, uint16(10+i)))
		d.pass(5*time.Second, true)
	}
	d.end("unfinished by tap", "unfinished by tap", "dropped by inferred")
	if len(d.paths) < 2 {
		t.Fatalf("%d files", len(d.paths))
	}
	if alone := play(t, d.paths[1]); len(alone.journeys) == 0 || alone.journeys[0]["verdict"].(map[string]any)["result"] != "unfinished" {
		t.Errorf("the second file alone: %v", alone.journeys)
	}
}

// Where connections are tracked and none was yet, a packet without an entry was
// dropped.
func TestEmptyConntrackReadsTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	rules := &netfilter.Ruleset{}
	must(t, json.Unmarshal([]byte(`{"Namespace": 2, "Base": [[0, 0]], "Tables": [{"Family": "ip", "Name": "nat", "Chains": [
		{"Name": "POSTROUTING", "Base": true, "NAT": true, "Hook": "postrouting", "Priority": 100, "Policy": 1}]}]}`), rules))
	d.tape.SetRuleset(rules)
	d.tape.AddFlows(&netfilter.Batch{Namespace: aside, Synced: true, Through: d.now})
	d.pass(time.Millisecond, true)
	d.pass(5*time.Second, true, d.datagram(aside, 10))
	d.pass(5*time.Second, true)
	d.end("dropped by inferred")
}

// That the trace of rules paused, and what it may not have told therefore, is known
// from a file as it was live.
func TestPausesOfTheTraceReadTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	d.pass(time.Millisecond, true)
	sent := &netfilter.TracedPacket{}
	sent.SetData(d.datagram(1, 9).Data[14:])
	d.tape.AddHits(&netfilter.HitBatch{Namespace: 1, Through: d.now, Hits: []netfilter.Hit{{
		After: d.now - 5e6, Before: d.now, Trace: 1, Kind: netfilter.RuleHit, Family: "inet", Table: netfilter.TraceTable + "1", Chain: "output",
		Verdict: netfilter.Accept, Packet: sent,
	}}})
	d.tape.AddHits(&netfilter.HitBatch{Through: d.now, PausedAt: d.now + 1e6})
	for range 10 {
		d.tape.AddHits(&netfilter.HitBatch{Through: d.now + 1e9, Paused: 700 * time.Millisecond})
		d.pass(time.Second, true, d.datagram(aside, 10))
	}
	d.tape.Flush()
	must(t, d.tape.Err())
	d.counters = d.tape.Counters()
	d.same(t, play(t, d.paths...))
	if d.counters.TracePaused != 7*time.Second {
		t.Errorf("paused for %v", d.counters.TracePaused)
	}
	for _, j := range d.journeys {
		if v := j["verdict"].(map[string]any); v["evidence"] == "trace" && v["result"] == "unfinished" {
			return
		}
	}
	t.Errorf("no walk that a pause may have cut in %v", d.journeys)
}

// Whose process held a socket of a container on the host's own network is known from a
// file as it was live, late as the answer may have come.
func TestSocketsOfTheHostsNetworkReadTheSame(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	agent := &netinfo.Container{Namespace: 1, Proof: "cgroup of pid 7"}
	agent.ID, agent.Name, agent.Mode = "aaaaaaaaaaaa", "agent", "host"
	host := &netinfo.Topology{Number: 2, Time: time.Unix(0, d.now), Self: 1, Containers: []*netinfo.Container{agent}, Namespaces: []*netinfo.Namespace{{
		ID: 1, Name: "host", Containers: []*netinfo.Container{agent}, Links: []*netinfo.Link{{
			Key: netinfo.LinkKey{Namespace: 1, Index: 2}, Name: "eth0", Kind: "device", Role: netinfo.RoleUplink, Addresses: []netip.Prefix{netip.PrefixFrom(deckHost, 24)},
		}}}}}
	d.tape.SetTopology(host.Seal())
	d.pass(50*time.Millisecond, true, d.datagram(1, 7))
	d.pass(50*time.Millisecond, true)
	if len(d.asked) != 1 {
		t.Fatalf("asked %+v", d.asked)
	}
	d.tape.AddSocket(trace.Socket{Namespace: 1, Connection: d.asked[0].Connection, PID: 7, Container: agent.ID, Hosted: true})
	d.pass(50*time.Millisecond, true)
	d.end("delivered by tap", "delivered by tap")
	if to := d.journeys[1]["to"].(map[string]any)["name"]; to != "agent" {
		t.Errorf("live it went to %v", to)
	}
}
