package netinfo

import (
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// asProxy in the environment makes the test binary wait until its input ends.
const asProxy = "NATLENS_TEST_AS_PROXY"

func waitAsProxy() int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// A process that is called and started like a docker-proxy is one if the socket
// that it speaks of is its own.
func TestProxyIsKnownByItsListener(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	listen := netip.MustParseAddrPort(l.Addr().String())
	exe := filepath.Join(t.TempDir(), "docker-proxy")
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	start := func(files ...*os.File) int {
		_, port, _ := net.SplitHostPort(listen.String())
		c := exec.Command(exe, "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", port, "-container-ip", "172.17.0.2", "-container-port", "80", "-use-listen-fd")
		c.Env, c.ExtraFiles = append(os.Environ(), asProxy+"=1"), files
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = stdin.Close()
			_ = c.Wait()
		})
		return c.Process.Pid
	}
	proxy, pretender := start(socket), start()
	d := newDiscovery()
	if err := d.processes(); err != nil {
		t.Fatal(err)
	}
	if d.namespaceOf[proxy] == 0 {
		t.Skip("needs CAP_SYS_PTRACE: run as root")
	}
	s := newProgramScan()
	s.look(d, time.Now())
	want := Proxy{PID: proxy, Namespace: d.namespaceOf[proxy], Protocol: "tcp", Listen: listen, Backend: netip.MustParseAddrPort("172.17.0.2:80")}
	for _, p := range s.listProxies() {
		switch p.PID {
		case pretender:
			t.Errorf("%+v is taken for one, though another process listens there", p)
		case proxy:
			if p != want {
				t.Errorf("%+v, want %+v", p, want)
			}
			want = Proxy{}
		}
	}
	if want != (Proxy{}) {
		t.Errorf("%v: %+v is missing", s.listProxies(), want)
	}
}
