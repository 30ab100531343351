package live

import "testing"

// Whoever starts a program writes its environment.
func FuzzParseSSH(f *testing.F) {
	for _, s := range []string{"192.0.2.1 50000 192.0.2.2 22", "fe80::1%eth0 50000 fe80::2%eth0 22", "::ffff:192.0.2.1 1 ::ffff:192.0.2.2 22", "a b c d", "192.0.2.1 70000 192.0.2.2 22", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		client, server, ok := parseSSH(s)
		if ok && (!client.IsValid() || !server.IsValid() || client.Addr().Zone() != "" || server.Addr().Is4In6()) {
			t.Errorf("%v, %v of %q", client, server, s)
		}
	})
}
