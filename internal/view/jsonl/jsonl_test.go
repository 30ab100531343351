package jsonl

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/internal/flows"
	"natlens/internal/view/jsonl/jsonltest"
	"natlens/internal/view/viewtest"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// encode returns what f writes, held against the schema and the promise that
// no terminal is moved by it.
func encode(t *testing.T, f func() ([]byte, error)) []byte {
	t.Helper()
	b, err := f()
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(b) || !bytes.HasSuffix(b, []byte("\n")) {
		t.Errorf("not UTF-8 or no line: %q", b)
	}
	if bad := bytes.IndexFunc(bytes.TrimSuffix(b, []byte("\n")), func(r rune) bool { return !unicode.IsPrint(r) }); bad >= 0 {
		t.Errorf("a terminal would act on %q", b[bad:min(bad+8, len(b))])
	}
	jsonltest.Validate(t, b)
	return b
}

func TestEveryExampleIsInTheSchema(t *testing.T) {
	for _, c := range viewtest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			b := encode(t, func() ([]byte, error) { return Journey(c.Journey) })
			for _, empty := range []string{`":""`, `":null`} {
				if bytes.Contains(b, []byte(empty)) {
					t.Errorf("what is unknown is there as %s: %s", empty, b)
				}
			}
		})
	}
}

func TestAnyJourneyIsInTheSchema(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 3))
		j := viewtest.Random(r)
		encode(t, func() ([]byte, error) { return Journey(j) })
		f := viewtest.Flow(r)
		e := &flows.Entry{Flow: f, Seen: r.Int64(), Born: r.Int64(), Journey: j}
		if r.IntN(2) == 0 {
			e.Proxy = &flows.Proxy{PID: r.IntN(1 << 22), Dials: r.IntN(2) == 0, Other: netip.AddrPortFrom(f.Original.Source(), 80), Name: j.From.Name}
		}
		encode(t, func() ([]byte, error) {
			return Flow(&flows.Change{Kind: netfilter.EventKind(r.IntN(4)), Time: r.Int64(), Entry: e})
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestPingOut(t *testing.T) {
	got := jsonltest.Validate(t, encode(t, func() ([]byte, error) { return Journey(viewtest.PingOut(1, 1)) }))
	back := map[string]any{"ip": "172.24.0.2"}
	host := map[string]any{"ip": "192.0.2.10"}
	internet := map[string]any{"ip": "198.51.100.7"}
	echo := map[string]any{"type": json.Number("8"), "code": json.Number("0"), "id": json.Number("7"), "seq": json.Number("1")}
	query := map[string]any{"type": json.Number("8"), "code": json.Number("0"), "id": json.Number("7")}
	answer := map[string]any{"type": json.Number("0"), "code": json.Number("0"), "id": json.Number("7")}
	rule := map[string]any{
		"backend": "iptables-nft", "family": "ip", "table": "nat", "chain": "POSTROUTING", "position": json.Number("1"),
		"handle": json.Number("5"), "text": "-A POSTROUTING -s 172.24.0.0/16 ! -o br-4c1f22aa -j MASQUERADE", "evidence": "evaluated",
	}
	hop := func(time, ns string, inode json.Number, link string, index json.Number, direction, typ string, source map[string]any, ttl json.Number) map[string]any {
		h := map[string]any{
			"time": "2026-11-23T14:03:07." + time + "Z", "namespace": ns, "namespace_inode": inode, "interface": link, "ifindex": index,
			"direction": direction, "packet_type": typ, "containers": []any{}, "peer_containers": []any{},
			"source": source, "destination": internet, "ip_id": json.Number("4660"), "icmp": echo, "ttl": ttl,
			"length": json.Number("84"), "mac": map[string]any{"source": "02:42:ac:18:00:09", "destination": "02:42:ac:18:00:04"},
		}
		if ns == "back" {
			h["containers"] = []any{"back"}
		}
		if link == "vethab12cd0" {
			h["peer_containers"] = []any{"back"}
		}
		return h
	}
	bridge := hop("105524000", "host", "4026531840", "br-4c1f22aa", "4", "in", "host", back, "64")
	bridge["same_stamp"] = true
	want := map[string]any{
		"schema": json.Number("1"), "kind": "journey", "id": json.Number("1"), "time": "2026-11-23T14:03:07.105512000Z",
		"protocol": "icmp", "info": "echo request 1", "direction": "original",
		"from": map[string]any{"name": "back", "containers": []any{"back"}, "ip": "172.24.0.2"},
		"to":   map[string]any{"containers": []any{}, "ip": "198.51.100.7"},
		"hops": []any{
			hop("105512000", "back", "4026531841", "eth0", "9", "out", "outgoing", back, "64"),
			hop("105524000", "host", "4026531840", "vethab12cd0", "10", "in", "otherhost", back, "64"),
			bridge,
			hop("105642000", "host", "4026531840", "eth0", "2", "out", "outgoing", host, "63"),
		},
		"translations": []any{map[string]any{
			"kind": "masquerade", "namespace": "host", "between": []any{json.Number("2"), json.Number("3")}, "hook": "postrouting", "undo": false,
			"before":   map[string]any{"source": back, "destination": internet, "icmp": query},
			"after":    map[string]any{"source": host, "destination": internet, "icmp": query},
			"evidence": "conntrack", "conntrack_id": json.Number("3047873481"), "rule": rule,
		}},
		"rules": []any{rule},
		"flows": []any{map[string]any{
			"namespace": "host", "namespace_inode": json.Number("4026531840"), "id": json.Number("3047873481"), "zone": json.Number("0"),
			"status":   []any{"confirmed", "src_nat", "src_nat_done"},
			"original": map[string]any{"protocol": "icmp", "source": back, "destination": internet, "icmp": query},
			"reply":    map[string]any{"protocol": "icmp", "source": internet, "destination": host, "icmp": answer},
		}},
		"verdict": map[string]any{"result": "left", "at": json.Number("3"), "evidence": "tap", "leak": false},
		"related": []any{}, "notes": []any{},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ping out (-want +got):\n%s", d)
	}
}

// decoded returns the object on a line with ordinary numbers.
func decoded(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPlacesThatAreNowhere(t *testing.T) {
	j := viewtest.PingOut(1, 1)
	j.Translations[0].Between = [2]int{-1, 0}
	j.Hops[1].From = -1
	j.Hops[3].From = 1
	j.Verdict.Hop, j.Verdict.Hook = -1, netfilter.Forward
	m := decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	if got, want := m["translations"].([]any)[0].(map[string]any)["between"], []any{nil, 0.0}; !cmp.Equal(got, want) {
		t.Errorf("between = %v, want %v", got, want)
	}
	var from []any
	for _, h := range m["hops"].([]any) {
		x, ok := h.(map[string]any)["from"]
		if !ok {
			x = "absent"
		}
		from = append(from, x)
	}
	if want := []any{"absent", nil, "absent", 1.0}; !cmp.Equal(from, want) {
		t.Errorf("from = %v, want %v", from, want)
	}
	if got := m["verdict"].(map[string]any)["at"]; got != "forward" {
		t.Errorf("at = %v, want forward", got)
	}
	j.Verdict.Hop, j.Verdict.Hook = 0, ""
	m = decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	if got := m["verdict"].(map[string]any)["at"]; got != 0.0 {
		t.Errorf("at = %v, want 0", got)
	}
	j.Verdict.Hook = netfilter.Input
	m = decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	if got := m["verdict"].(map[string]any); got["at"] != 0.0 || got["hook"] != "input" {
		t.Errorf("verdict = %v, want at 0, hook input", got)
	}
}

func TestTextFromOutsideStaysWhatItWas(t *testing.T) {
	const evil = "a\x1b[31m\u009b2J\u202e\U000e0041数 > & \\ \" \u2028end"
	j := viewtest.PingOut(1, 1)
	j.Notes = []string{evil, "\xff"}
	m := decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	if got, want := m["notes"], []any{evil, "\ufffd"}; !cmp.Equal(got, want) {
		t.Errorf("notes = %q, want %q", got, want)
	}
}

func TestFragmentsAndQuotes(t *testing.T) {
	j := viewtest.PingOut(1, 1)
	inner := j.Hops[0].Headers.Tuple
	h := &j.Hops[0].Headers
	h.Layers |= packet.LayerQuoted
	h.Quoted = inner
	j.Hops[0].Part = &trace.Part{Index: 1, Of: 3, Offset: 1480}
	j.Hops[1].MergedWith = 2
	h.ICMPType = 3 // no echo, so neither id nor sequence number
	m := decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	hop := m["hops"].([]any)[0].(map[string]any)
	if got, want := hop["part"], (map[string]any{"index": 1.0, "of": 3.0, "offset": 1480.0}); !cmp.Equal(got, any(want)) {
		t.Errorf("part = %v, want %v", got, want)
	}
	if got := m["hops"].([]any)[1].(map[string]any)["merged_with"]; got != 2.0 {
		t.Errorf("merged_with = %v, want 2", got)
	}
	if got, want := hop["icmp"], (map[string]any{"type": 3.0, "code": 0.0}); !cmp.Equal(got, any(want)) {
		t.Errorf("icmp = %v, want %v", got, want)
	}
	if hop["quoted"] == nil || hop["quoted"].(map[string]any)["protocol"] != "icmp" {
		t.Errorf("quoted = %v", hop["quoted"])
	}
}

// A direction that a file does not tell is absent.
func TestUnknownDirection(t *testing.T) {
	j := viewtest.PingOut(1, 1)
	j.Hops[0].Type = capture.UnknownType
	m := decoded(t, encode(t, func() ([]byte, error) { return Journey(j) }))
	for i, h := range m["hops"].([]any)[:2] {
		if way, told := h.(map[string]any)["direction"]; told != (i > 0) {
			t.Errorf("hop %d: direction %v", i, way)
		}
	}
}

func TestFlagWords(t *testing.T) {
	for flags, want := range map[uint8]string{0: "none", packet.SYN: "SYN", packet.SYN | packet.ACK: "SYN ACK", 0xff: "FIN SYN RST PSH ACK URG ECE CWR"} {
		if got := flagWords(flags); got != want {
			t.Errorf("flagWords(%#x) = %q, want %q", flags, got, want)
		}
	}
}

func TestSummary(t *testing.T) {
	b := encode(t, func() ([]byte, error) {
		return Summary(trace.Counters{Observations: 16, Journeys: 4, Hops: 16, RingDrops: 1}, 2, 1500*time.Millisecond)
	})
	want := `{"schema":1,"kind":"summary","observations":16,"journeys":4,"hops":16,"ring_drops":1,"conntrack_lost":0,"queue_drops":0,` +
		`"evicted":0,"unpaired":0,"ambiguous":0,"malformed":0,"conntrack_malformed":0,"ignored":0,"traced":0,"trace_lost":0,"hidden":2,"duration":1.5}` + "\n"
	if string(b) != want {
		t.Errorf("Summary = %s, want %s", b, want)
	}
	b = encode(t, func() ([]byte, error) {
		return Summary(trace.Counters{TracePaused: 750 * time.Millisecond}, 0, time.Second)
	})
	if !strings.Contains(string(b), `"trace_lost":0,"trace_paused":0.75,`) {
		t.Errorf("Summary = %s", b)
	}
}

func TestEvents(t *testing.T) {
	at := time.Unix(1, 0)
	for _, kind := range []string{"container", "link", "network", "ruleset"} {
		for _, action := range []string{"came", "went", "changed"} {
			c := &netinfo.Change{Kind: kind, Action: action, Name: "back", Namespace: 5, NamespaceName: "back", Detail: "up"}
			b := encode(t, func() ([]byte, error) { return Change(c, at) })
			want := `{"schema":1,"kind":"event","time":"1970-01-01T00:00:01.000000000Z","object":"` + kind + `","action":"` + action +
				`","name":"back","namespace":"back","namespace_inode":5,"detail":"up"}` + "\n"
			if string(b) != want {
				t.Errorf("Change = %s, want %s", b, want)
			}
		}
	}
	v4, v6 := netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fe80::1")
	for _, c := range []struct {
		headers        packet.Headers
		object, action string
	}{
		{packet.Headers{Layers: packet.LayerEthernet | packet.LayerARP, ARPOperation: 1, Tuple: packet.NewTuple(0, v4, v4, 0, 0)}, "arp", "request"},
		{packet.Headers{Layers: packet.LayerEthernet | packet.LayerARP, ARPOperation: 2, Tuple: packet.NewTuple(0, v4, v4, 0, 0)}, "arp", "reply"},
		{packet.Headers{Layers: packet.LayerARP, ARPOperation: 9}, "arp", "other"},
		{packet.Headers{Layers: packet.LayerIPv6 | packet.LayerICMP, ICMPType: 135, Tuple: packet.NewTuple(packet.ICMPv6, v6, v6, 0, 135<<8)}, "neighbour", "solicitation"},
		{packet.Headers{Layers: packet.LayerIPv6 | packet.LayerICMP, ICMPType: 136, Tuple: packet.NewTuple(packet.ICMPv6, v6, v6, 0, 136<<8)}, "neighbour", "advertisement"},
		{packet.Headers{Layers: packet.LayerIPv6 | packet.LayerICMP, ICMPType: 140}, "neighbour", "other"},
		{packet.Headers{Layers: packet.LayerIPv4, Tuple: packet.NewTuple(packet.IGMP, v4, v4, 0, 0)}, "igmp", "report"},
		{packet.Headers{Layers: packet.LayerIPv6 | packet.LayerICMP, ICMPType: 132, Tuple: packet.NewTuple(packet.ICMPv6, v6, v6, 0, 132<<8)}, "mld", "leave"},
	} {
		a := &trace.ARP{Time: 1, Namespace: "host", Interface: "docker0", Point: capture.Point{Namespace: 4, Ifindex: 3}, Headers: c.headers}
		group := netip.MustParseAddr("ff02::fb")
		switch c.object {
		case "igmp":
			group = netip.MustParseAddr("224.0.0.251")
			a.Membership, a.Groups = packet.MembershipReport, []packet.Membership{{Group: group}}
		case "mld":
			a.Membership, a.Groups = packet.MembershipLeave, []packet.Membership{{Group: group, Left: true}}
		}
		m := decoded(t, encode(t, func() ([]byte, error) { return ARP(a) }))
		if m["hardware"] != nil {
			t.Errorf("%v that tells no MAC address has %v", m["object"], m["hardware"])
		}
		a.Hardware = [6]byte{2, 0x42}
		if m := decoded(t, encode(t, func() ([]byte, error) { return ARP(a) })); m["hardware"] != "02:42:00:00:00:00" {
			t.Errorf("%v tells %v", m["object"], m["hardware"])
		}
		if list, key := []any{group.String()}, map[string]string{"igmp": "groups", "mld": "left"}[c.object]; key != "" && !reflect.DeepEqual(m[key], list) {
			t.Errorf("%s: %v, want %v", key, m[key], list)
		}
		if m["direction"] != "in" {
			t.Errorf("%v has direction %v", m["object"], m["direction"])
		}
		a.Type = capture.UnknownType
		if m := decoded(t, encode(t, func() ([]byte, error) { return ARP(a) })); m["direction"] != nil {
			t.Errorf("%v of a file that tells none has direction %v", m["object"], m["direction"])
		}
		if m["object"] != c.object || m["action"] != c.action || m["interface"] != "docker0" {
			t.Errorf("ARP = %v, want %s %s", m, c.object, c.action)
		}
	}
}

func TestList(t *testing.T) {
	topology := viewtest.Topology()
	topology.Time = time.Unix(5, 6)
	topology.Notes = []netinfo.Note{{About: "engine", Text: "is slow"}}
	m := decoded(t, encode(t, func() ([]byte, error) { return List(topology) }))
	var veth map[string]any
	for _, l := range m["links"].([]any) {
		if l := l.(map[string]any); l["name"] == "vethab12cd0" {
			veth = l
		}
	}
	want := map[string]any{
		"name": "vethab12cd0", "namespace": "host", "namespace_inode": 4026531840.0, "index": 10.0, "kind": "veth", "role": "veth",
		"mac": "02:42:ac:18:00:0a", "addresses": []any{}, "mtu": 1500.0, "state": "up", "master": "br-4c1f22aa",
		"peer": map[string]any{
			"namespace": "back", "namespace_inode": 4026531841.0, "name": "eth0", "index": 9.0, "containers": []any{"back"},
		},
		"containers": []any{}, "network": "back_net",
	}
	if d := cmp.Diff(want, veth); d != "" {
		t.Errorf("link (-want +got):\n%s", d)
	}
	wantContainer := map[string]any{
		"id": "1f0eback", "name": "back", "image": "box", "pid": 4009.0, "namespace": "back", "namespace_inode": 4026531841.0,
		"proof": "mac 02:42:ac:18:00:09 on eth0", "mode": "back_net",
		"networks": []any{map[string]any{"name": "back_net", "mac": "02:42:ac:18:00:09", "addresses": []any{"172.24.0.2/16"}, "gateways": []any{}}},
		"ports": []any{
			map[string]any{"protocol": "tcp", "container_port": 8000.0, "host_ip": "0.0.0.0", "host_port": 8080.0},
			map[string]any{"protocol": "tcp", "container_port": 9000.0},
		},
	}
	if d := cmp.Diff(wantContainer, m["containers"].([]any)[0]); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	wantNetwork := map[string]any{
		"name": "back_net", "id": "4c1f22aa9be0", "driver": "bridge", "bridge": "br-4c1f22aa", "internal": false,
		"subnets": []any{"172.24.0.0/16"}, "gateway": "172.24.0.1", "containers": []any{"back", "database"},
	}
	if d := cmp.Diff([]any{wantNetwork}, m["networks"]); d != "" {
		t.Errorf("networks (-want +got):\n%s", d)
	}
	encode(t, func() ([]byte, error) { return List(&netinfo.Topology{}) })
}

// TestTheSchemaIsStrict: a schema that allowed everything would prove nothing.
func TestTheSchemaIsStrict(t *testing.T) {
	good, err := Journey(viewtest.PingOut(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to string }{
		{`"kind":"journey"`, `"kind":"trip"`},
		{`"schema":1`, `"schema":2`},
		{`"id":1`, `"id":"1"`},
		{`"ttl":64`, `"tll":64`},
		{`"ttl":64`, `"ttl":256`},
		{`"ip":"172.24.0.2"`, `"ip":"back"`},
		{`"direction":"original"`, `"direction":"there"`},
		{`"between":[2,3]`, `"between":[2]`},
		{`"between":[2,3]`, `"between":[2,3,4]`},
		{`"evidence":"conntrack"`, `"evidence":"guess"`},
		{`"result":"left"`, `"result":"lost"`},
		{`105512000Z`, `1055120Z`},
		{`"info":"echo request 1"`, `"info":""`},
		{`"leak":false`, `"leak":false,"extra":1`},
	} {
		bad := strings.Replace(string(good), c.from, c.to, 1)
		if bad == string(good) {
			t.Fatalf("the example has no %s", c.from)
		}
		if _, err := jsonltest.Check([]byte(bad)); err == nil {
			t.Errorf("the schema allows %s", c.to)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"back", "\x1b[2J", "\u009b", "\U000e0041", "\xed\xa0\x80", "\u2028", `\u0041`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := line([]string{s})
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(strings.TrimSuffix(string(b), "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q is written as %q", s, b)
		}
		var got []string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q is written as %q: %v", s, b, err)
		}
		var want strings.Builder
		for _, r := range s { // a byte that is no UTF-8 is U+FFFD
			want.WriteRune(r)
		}
		if len(got) != 1 || got[0] != want.String() {
			t.Errorf("%q is read back as %q", s, got)
		}
	})
}
