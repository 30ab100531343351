package live

import (
	"bytes"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"natlens/capture/packet"
	"natlens/trace"
)

// Own is the traffic that exists because somebody runs natlens: the SSH session
// it was typed in, and a connection to a remote engine. Showing it would make
// more of it.
type Own struct {
	pairs [][2]netip.AddrPort // client and server; a client without a port is any
}

// OwnTraffic finds out which connections those are. sudo(8) clears
// SSH_CONNECTION, so it is looked for in the parents of this process as well,
// where there is a /proc to do so.
func OwnTraffic() Own {
	var o Own
	if client, server, ok := parseSSH(sshConnection()); ok {
		o.pairs = append(o.pairs, [2]netip.AddrPort{client, server})
	}
	if u, err := url.Parse(os.Getenv("DOCKER_HOST")); err == nil && u.Scheme == "tcp" {
		if server, err := netip.ParseAddrPort(u.Host); err == nil {
			o.pairs = append(o.pairs, [2]netip.AddrPort{{}, server})
		}
	}
	return o
}

// Empty reports whether there is nothing to hide.
func (o Own) Empty() bool { return len(o.pairs) == 0 }

// Hides reports whether a journey belongs to natlens's own traffic.
func (o Own) Hides(j *trace.Journey) bool {
	if len(o.pairs) == 0 || j.Protocol != packet.TCP {
		return false
	}
	for i := range j.Hops {
		t := j.Hops[i].Headers.Tuple
		source := netip.AddrPortFrom(t.Source(), t.SourcePort)
		destination := netip.AddrPortFrom(t.Destination(), t.DestinationPort)
		for _, p := range o.pairs {
			if destination == p[1] && (!p[0].IsValid() || source == p[0]) ||
				source == p[1] && (!p[0].IsValid() || destination == p[0]) {
				return true
			}
		}
	}
	return false
}

// sshConnection returns sshd's variable (sshd(8), ENVIRONMENT): this process's,
// else that of its nearest ancestor which has one.
func sshConnection() string {
	if s := os.Getenv("SSH_CONNECTION"); s != "" {
		return s
	}
	for pid := os.Getppid(); pid > 1; pid = parentOf(pid) {
		environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		if err != nil {
			return ""
		}
		for v := range bytes.SplitSeq(environ, []byte{0}) {
			if s, ok := strings.CutPrefix(string(v), "SSH_CONNECTION="); ok {
				return s
			}
		}
	}
	return ""
}

// parentOf reads the fourth field of /proc/PID/stat (proc(5)); 0 when the
// process is gone.
func parentOf(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The second field, the command, can hold blanks and brackets itself.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// parseSSH reads "client-address client-port server-address server-port".
func parseSSH(s string) (client, server netip.AddrPort, ok bool) {
	f := strings.Fields(s)
	if len(f) != 4 {
		return client, server, false
	}
	parse := func(address, port string) (netip.AddrPort, bool) {
		a, err := netip.ParseAddr(address)
		p, errPort := strconv.ParseUint(port, 10, 16)
		return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(p)), err == nil && errPort == nil
	}
	client, ok = parse(f[0], f[1])
	server, okServer := parse(f[2], f[3])
	return client, server, ok && okServer
}
