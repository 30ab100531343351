package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These benchmarks send small datagrams over a cable as fast as the path goes,
// while somebody reads both ends. ns/op is the reader's processor time for each
// packet at each end; packets/s is what the sender still got through, to be
// compared with what it gets through alone.

// BenchmarkAlone sends without a reader: the traffic that there is to keep. Its
// ns/op is the time from one packet to the next.
func BenchmarkAlone(b *testing.B) {
	c := newCable(b)
	flood(b, c)
}

// BenchmarkRings reads, parses and identifies, as a watch does, and throws away.
func BenchmarkRings(b *testing.B) {
	c := newCable(b)
	rings, err := NewRings(Config{})
	must(b, err)
	must(b, rings.Attach(c.left))
	must(b, rings.Attach(c.right))
	out, ended := make(chan Batch), make(chan error, 1)
	ctx, stop := context.WithCancel(b.Context())
	go func() { ended <- rings.Run(ctx, out); close(out) }()
	seen, lost := 0, uint64(0)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for batch := range out {
			seen += len(batch.Observations)
			for _, n := range batch.Lost {
				lost += n
			}
		}
	}()
	before := used(b)
	flood(b, c)
	stop()
	must(b, <-ended)
	<-counted
	b.ReportMetric(float64(used(b)-before)/float64(seen), "ns/op")
	b.ReportMetric(100*float64(lost)/float64(seen+int(lost)), "%lost")
}

// BenchmarkTcpdump is tcpdump -w /dev/null at both ends.
func BenchmarkTcpdump(b *testing.B) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		b.Skip("needs tcpdump")
	}
	c := newCable(b)
	var readers []*exec.Cmd
	for _, ns := range []string{c.left.Path(), c.right.Path()} {
		inherited, err := os.Open(ns)
		must(b, err)
		defer inherited.Close()
		cmd := exec.Command("nsenter", "--net=/proc/self/fd/3", "tcpdump", "-i", "any", "-s", "128", "-Z", "root", "-w", "/dev/null")
		cmd.ExtraFiles = []*os.File{inherited}
		said, err := cmd.StderrPipe()
		must(b, err)
		must(b, cmd.Start())
		var words strings.Builder
		for buffer := make([]byte, 1024); !strings.Contains(words.String(), "listening on"); {
			n, err := said.Read(buffer)
			words.Write(buffer[:n])
			must(b, err)
		}
		readers = append(readers, cmd)
	}
	flood(b, c)
	time.Sleep(time.Second) // libpcap's last block would be left
	spent := time.Duration(0)
	for _, cmd := range readers {
		must(b, cmd.Process.Signal(os.Interrupt))
		must(b, cmd.Wait())
		spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(2*b.N), "ns/op")
}

// flood lets another process send b.N datagrams.
func flood(b *testing.B, c *cable) {
	b.Helper()
	sender := exec.Command(os.Args[0])
	sender.Env = append(os.Environ(), fmt.Sprintf("%s=%d %v:%d", sends, b.N, c.rightAddress, sinkPort))
	b.ResetTimer()
	must(b, c.left.Do(sender.Run))
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}

// sends tells this program, started anew by flood, how many datagrams go where.
const sends = "NATLENS_BENCH_SENDS"

func TestMain(m *testing.M) {
	if work := os.Getenv(sends); work != "" {
		if err := sendAll(work); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func sendAll(work string) error {
	var n int
	var to string
	if _, err := fmt.Sscan(work, &n, &to); err != nil {
		return err
	}
	conn, err := net.Dial("udp4", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	datagram := make([]byte, 18) // 60 bytes on the link
	for range n {
		if _, err := conn.Write(datagram); err != nil && !errors.Is(err, syscall.ENOBUFS) {
			return err
		}
	}
	return nil
}

// used is the processor time of this process so far, in nanoseconds.
func used(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}
