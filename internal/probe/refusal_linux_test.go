package probe

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"natlens/netinfo"
)

// Why the kernel would not send is said in words that are true of each refusal.
func TestNotSent(t *testing.T) {
	for _, c := range []struct {
		err    error
		to     string
		link   *netinfo.Link
		result Result
		reason string
	}{
		{syscall.EPERM, "172.24.0.2", nil, Dropped, "a rule of back's own output stopped it"},
		{fmt.Errorf("connect: %w", syscall.EACCES), "172.24.255.255", nil, NoWay, "its routes prohibit that, or it is a broadcast address"},
		{syscall.ENETUNREACH, "198.51.100.7", nil, NoWay, "no route there"},
		{syscall.EINVAL, "fe80::1", nil, NoWay, "FROM has to be a link"},
		{syscall.ENETUNREACH, "fe80::1", &netinfo.Link{Name: "eth0"}, NoWay, "no route there"},
	} {
		n := &netinfo.Namespace{ID: backNS, Name: "back", Links: []*netinfo.Link{{Name: "eth0", Kind: "veth"}}}
		o := &Outcome{Source: Source{Name: "back", Namespace: n, Link: c.link}, Destination: Destination{Address: addr(c.to)}, Answer: notSent(c.err)}
		o.conclude()
		if o.Result != c.result || !strings.Contains(o.Cause.Reason, c.reason) {
			t.Errorf("%v to %s: %s, %q; want %s, %q", c.err, c.to, o.Result, o.Cause.Reason, c.result, c.reason)
		}
	}
}
