package record_test

import (
	"io"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/labtest"
)

// dump runs tcpdump on the host while play plays.
func dump(t *testing.T, path string, args ...string) (stop func()) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	cmd := exec.Command("tcpdump", append([]string{"-Z", "root", "--immediate-mode", "-U", "-n", "-s", "200", "-w", path}, args...)...)
	said, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	line := make([]byte, 200)
	for text := ""; !strings.Contains(text, "listening on"); {
		n, err := said.Read(line)
		text += string(line[:n])
		if err != nil {
			_ = cmd.Wait()
			t.Skipf("needs a tcpdump that may capture here: %s", text)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	return func() {
		labtest.Idle(t, cmd.Process.Pid)
		must(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
	}
}

// TestWhatTcpdumpCapturesNow holds this machine's tcpdump to the same as the files
// in testdata.
func TestWhatTcpdumpCapturesNow(t *testing.T) {
	dir := t.TempDir()
	if *update {
		dir = "testdata"
	}
	h := labtest.NewHost(t)
	must(t, lab.Scenarios()[0].Build(h))
	back := h.Find("back")
	echo, err := lab.EchoUDP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, dnsPort))
	must(t, err)
	defer echo.Close()
	web, err := lab.ServeHTTP(h.Internet(), netip.AddrPortFrom(lab.ServerAddress, 80), "hello")
	must(t, err)
	defer web.Close()
	var stops []func()
	for name, args := range map[string][]string{
		"any.pcap":     {"-i", "any"},
		"any-sll.pcap": {"-i", "any", "-y", "LINUX_SLL"},
		"veth.pcap":    {"-i", back.HostLink},
		"uplink.pcap":  {"-i", "eth0"},
	} {
		stops = append(stops, dump(t, filepath.Join(dir, name), args...))
	}
	ctx := t.Context()
	must(t, lab.Scenarios()[0].Play(ctx, h))
	c, err := lab.DialUDP(back.Namespace(), netip.AddrPort{}, netip.AddrPortFrom(lab.ServerAddress, dnsPort))
	must(t, err)
	defer c.Close()
	for range 3 {
		_, err = lab.Exchange(ctx, c, []byte("question"))
		must(t, err)
	}
	_, err = lab.Get(ctx, back.Namespace(), netip.AddrPortFrom(lab.ServerAddress, 80))
	must(t, err)
	for _, stop := range stops {
		stop()
	}
	checkForeign(t, dir)
}
