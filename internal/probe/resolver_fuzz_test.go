package probe

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A container writes its own /etc/hosts and /etc/resolv.conf.
func FuzzReadHosts(f *testing.F) {
	f.Add("127.0.0.1 localhost\n192.0.2.9 Known known.example # a comment\n::1 ip6-localhost\nfe80::1%eth0 router\n")
	f.Add("nonsense\n192.0.2.9\n192.0.2.9 #\n\x00 a\n192.0.2.9 a a A\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, addresses := range readHosts(strings.NewReader(text)) {
			if name == "" || strings.ContainsAny(name, " \t\n#") || len(addresses) == 0 || slices.ContainsFunc(addresses, func(a netip.Addr) bool { return !a.IsValid() }) {
				t.Errorf("%q is %v", name, addresses)
			}
		}
	})
}

func FuzzReadResolvConf(f *testing.F) {
	f.Add("# made by hand\nsearch a.example b.example\nnameserver 127.0.0.11\nnameserver 2001:db8::1\nnameserver x\noptions ndots:0\n", "back")
	f.Add("domain .\nsearch ..\nnameserver\n", "a.example.")
	f.Fuzz(func(t *testing.T, text, name string) {
		servers, search := readResolvConf(strings.NewReader(text))
		if slices.ContainsFunc(servers, func(a netip.Addr) bool { return !a.IsValid() }) || slices.Contains(search, "") {
			t.Errorf("servers %v, search %q", servers, search)
		}
		full := (&resolver{search: search}).candidates(name)
		if len(full) == 0 || slices.ContainsFunc(full, func(s string) bool { return !strings.HasSuffix(s, ".") }) {
			t.Errorf("%q is asked for as %q", name, full)
		}
		for _, s := range full {
			_, _, _ = question(s, 1)
		}
	})
}
