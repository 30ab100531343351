package netinfo

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lines of a little-endian kernel, as cat /proc/net/… shows them.
const (
	tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24871 1 0000000000000000 100 0 0 10 0                     
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 24872 1 0000000000000000 100 0 0 10 0                     
   2: 0A0200C0:0016 010200C0:C350 01 00000000:00000000 02:000A7D5E 00000000     0        0 24873 2 0000000000000000 20 4 30 10 -1                    
`
	tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31338 1 0000000000000000 100 0 0 10 0
`
	udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             
  395: 0B00007F:A5C8 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9911 2 0000000000000000 0         
  401: 0A0200C0:D431 07643366:0035 01 00000000:00000000 00:00000000 00000000     0        0 9912 2 0000000000000000 0         
`
)

func TestDecodeListeners(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("needs a little-endian machine: the kernel prints memory words")
	}
	for _, c := range []struct {
		protocol, table string
		want            []Listener
	}{
		{"tcp", tcpTable, []Listener{
			{"tcp", netip.MustParseAddrPort("127.0.0.1:8080"), 24871},
			{"tcp", netip.MustParseAddrPort("0.0.0.0:80"), 24872},
		}},
		{"tcp", tcp6Table, []Listener{
			{"tcp", netip.MustParseAddrPort("[2001:db8::1]:443"), 31337},
			{"tcp", netip.MustParseAddrPort("[::]:80"), 31338},
		}},
		{"udp", udpTable, []Listener{{"udp", netip.MustParseAddrPort("127.0.0.11:42440"), 9911}}},
	} {
		got, err := decodeListeners(strings.NewReader(c.table), c.protocol)
		if err != nil {
			t.Errorf("%s: %v", c.protocol, err)
		}
		if d := cmp.Diff(c.want, got, cmp.Comparer(sameAddrPort)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.protocol, d)
		}
	}
}

func sameAddrPort(a, b netip.AddrPort) bool { return a == b }

func TestDecodeListenersRefuses(t *testing.T) {
	const header = "  sl  local_address …\n"
	for _, c := range []struct{ name, table, want string }{
		{"nothing", "", "no header"},
		{"cut line", header + "   0: 0100007F:1F90 000", "line 2: 3 fields"},
		{"short address", header + "0: 0100:1F90 x 0A x x x 0 0 1\n", "want 8 or 32"},
		{"no port", header + "0: 0100007F x 0A x x x 0 0 1\n", "want 8 or 32"},
		{"large port", header + "0: 0100007F:1F900 x 0A x x x 0 0 1\n", "port"},
		{"state", header + "0: 0100007F:1F90 x listen x x x 0 0 1\n", "state"},
		{"inode", header + "0: 0100007F:1F90 x 0A x x x 0 0 -1\n", "inode"},
	} {
		_, err := decodeListeners(strings.NewReader(c.table), "tcp")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestListenerAccepts(t *testing.T) {
	for _, c := range []struct {
		bound, to string
		want      bool
	}{
		{"0.0.0.0:80", "172.17.0.2", true},
		{"0.0.0.0:80", "2001:db8::2", false},
		{"[::]:80", "2001:db8::2", true},
		{"[::]:80", "172.17.0.2", true},
		{"127.0.0.1:80", "172.17.0.2", false},
		{"172.17.0.2:80", "172.17.0.2", true},
		{"172.18.0.2:80", "172.17.0.2", false},
		{"[::ffff:172.17.0.2]:80", "172.17.0.2", true},
		{"[::1]:80", "2001:db8::2", false},
	} {
		l := Listener{Protocol: "tcp", Address: netip.MustParseAddrPort(c.bound)}
		if got := l.Accepts(netip.MustParseAddr(c.to)); got != c.want {
			t.Errorf("a socket on %s accepts for %s: %v, want %v", c.bound, c.to, got, c.want)
		}
	}
}

func FuzzDecodeListeners(f *testing.F) {
	f.Add(tcpTable)
	f.Add(tcp6Table)
	f.Add(udpTable)
	f.Fuzz(func(t *testing.T, table string) {
		found, err := decodeListeners(strings.NewReader(table), "tcp")
		if err == nil && len(found) > strings.Count(table, "\n")+1 {
			t.Errorf("%d sockets from %d lines", len(found), strings.Count(table, "\n"))
		}
		for _, l := range found {
			if !l.Address.IsValid() {
				t.Errorf("invalid address in %+v", l)
			}
		}
	})
}
