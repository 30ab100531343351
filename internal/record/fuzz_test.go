package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"natlens/capture/pcapng"
	"natlens/internal/flows"
	"natlens/internal/record"
	"natlens/netinfo/netfilter"
)

// knowledge is a block of each kind that a file can have behind its header.
var knowledge = []string{
	2:  `{"Interface":0,"Namespace":1,"Ifindex":2}`,
	3:  `{"Value":{"Number":1,"Self":1,"Namespaces":[{"ID":1,"Name":"host","Links":[{"Key":{"Namespace":1,"Index":2},"Name":"eth0"}],"Containers":[0]}],"Containers":[{"Name":"back"}]}}`,
	4:  `{"Value":{"Namespace":1,"Tables":[{"Family":"ip","Name":"nat","Chains":[{"Name":"POSTROUTING","Base":true,"NAT":true,"Hook":"postrouting"}]}],"Base":[[0,0]]}}`,
	5:  `{"Namespace":1,"Through":9,"Events":[{"Kind":"NEW","After":1,"Before":2,"Flow":{"ID":3,"Original":{"Protocol":17,"Source":"192.0.2.1","Destination":"192.0.2.2"},"Reply":{"Protocol":17,"Source":"192.0.2.2","Destination":"192.0.2.1"}}}]}`,
	6:  `{"Value":{"Namespace":1,"Since":1}}`,
	7:  `{"Through":1790000000000000000}`,
	8:  `{"Through":1790000000000000000}`,
	9:  `{"Packets":{"1":7}}`,
	10: `{"Reason":"the clock was set"}`,
	11: `{"Namespace":1,"Connection":{"Protocol":"tcp","Local":"192.0.2.1:1","Remote":"192.0.2.2:2"},"PID":3}`,
	12: `{"Namespace":1,"Through":9,"Hits":[{"After":1,"Before":2,"Trace":3,"Kind":"rule","Verdict":"accept","Family":"ip","Table":"nat","Chain":"POSTROUTING","Handle":4,"Packet":{"Data":"RQAAHAABAABAERoxwAACAcAAAgIAAQACAAgAAA==","Out":2,"Tracked":true,"FlowID":3}}]}`,
	13: `{"Namespace":1,"Start":3,"End":4,"Since":1,"Moved":[{"Rule":{"Family":"ip","Table":"nat","Chain":"POSTROUTING","Handle":4},"Packets":1}]}`,
}

// seeds are small files: one with each kind of block, and one of each host.
func seeds(f *testing.F) (files [][]byte) {
	header := local(f, 1, `{"Version":1,"Session":"s"}`)
	for kind, data := range knowledge {
		if data != "" {
			alone := local(f, uint32(kind), data)
			section := binary.LittleEndian.Uint32(alone[4:])
			files = append(files, append(header[:len(header):len(header)], alone[section:]...))
		}
	}
	one, two := hostFile(f, 1, true), hostFile(f, 2, false)
	next := local(f, 1, `{"Version":1,"Session":"s1","Part":1}`)
	return append(files, one, two, slices.Concat(one, next), slices.Concat(one, two))
}

// hostFile is what a host writes of which a datagram leaves, or to which it comes a
// little later; its clock is ahead by as many seconds as its number.
func hostFile(t testing.TB, number int, out bool) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.Section{})
	note := func(kind uint32, format string, args ...any) {
		err = errors.Join(err, w.Local(pcapng.Local{Kind: kind, Data: fmt.Appendf(nil, format, args...)}))
	}
	at := 1_790_000_000_000_000_000 + int64(number)*1e9
	note(1, `{"Version":1,"Session":"s%d","Host":"host%d"}`, number, number)
	note(3, `{"Value":{"Number":1,"Self":7,"Namespaces":[{"ID":7,"Name":"host","Addresses":["198.51.100.%d/24"],"Links":[{"Key":{"Namespace":7,"Index":2},"Name":"eth0","MAC":"02:00:00:00:00:0%d"}]}]}}`, number, number)
	note(6, `{"Value":{"Namespace":7,"Since":1}}`)
	id, errInterface := w.Interface(pcapng.Interface{LinkType: pcapng.LinkEthernet, Name: "host/eth0"})
	note(2, `{"Interface":%d,"Namespace":7,"Ifindex":2}`, id)
	err = errors.Join(err, errInterface)
	ip := &layers.IPv4{Version: 4, Id: 5, TTL: 64 - uint8(number), Protocol: layers.IPProtocolUDP, SrcIP: []byte{198, 51, 100, 1}, DstIP: []byte{198, 51, 100, 2}}
	datagram := &layers.UDP{SrcPort: 5000, DstPort: 53}
	b := gopacket.NewSerializeBuffer()
	err = errors.Join(err, datagram.SetNetworkLayerForChecksum(ip), gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, datagram, gopacket.Payload("question")))
	p := &pcapng.Packet{Interface: id, Time: at, WireLength: uint32(len(b.Bytes())), Data: b.Bytes(), ID: 1, Direction: pcapng.Inbound, Reception: pcapng.Unicast}
	if out {
		p.Direction = pcapng.Outbound
	}
	err = errors.Join(err, w.Packet(p))
	note(7, `{"Through":%d}`, at+1e10)
	note(8, `{"Through":%d}`, at+1e10)
	if err = errors.Join(err, w.Flush()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// Whatever stands in a file, reading it ends, and ends well.
func FuzzPlay(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.pcap*")
	if err != nil || len(paths) < 5 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	foreign, err := os.ReadFile("testdata/uplink.pcap")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range seeds(f) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := playBytes(t.Context(), file)
		_ = err // broken is what it mostly is
		_, _ = playBytes(t.Context(), file, file)
		_, _ = playBytes(t.Context(), file, foreign)
	})
}

// The files of two hosts are woven into one, their clocks compared.
func FuzzPlayHosts(f *testing.F) {
	one, two := hostFile(f, 1, true), hostFile(f, 2, false)
	f.Add(one, two)
	f.Add(two, one)
	for _, file := range seeds(f) {
		f.Add(one, file)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		_, _ = playBytes(t.Context(), one, two)
	})
}

func TestSeedsOfTwoHostsAreWoven(t *testing.T) {
	n, err := playBytes(t.Context(), hostFile(t, 1, true), hostFile(t, 2, false))
	if n != 1 || err != nil {
		t.Errorf("%d journeys, %v, want 1 through both", n, err)
	}
}

// What flows --read makes of a file is a table, whatever stands in the file.
func FuzzTell(f *testing.F) {
	tape, err := os.ReadFile(keptTape)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tape)
	for _, file := range seeds(f) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		recording, err := record.Open([]record.File{{Name: "fuzzed", In: bytes.NewReader(file)}})
		if err != nil {
			return
		}
		table := flows.NewTable()
		table.Keep = true
		_ = recording.Tell(t.Context(), record.Knowledge{
			Topology: table.SetTopology, Ruleset: table.SetRuleset,
			Flows: func(b *netfilter.Batch) { table.AddFlows(b) },
		})
		for _, e := range table.Entries() {
			if e.Journey == nil {
				t.Error("an entry without a journey")
			}
		}
		table.Containers()
		table.Networks()
	})
}
