package e2e

import (
	"net/netip"
	"testing"
	"time"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// A container on the host's network has the host's address. Its packets bear its name
// where its process was found to hold the socket; where none can be found, as with a
// ping, it is said that they may be the host's own.
func TestCourseHostNetworkBySocket(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "hosted", "--network", "host", "box", "httpd", "-f", "-p", "8090", "-h", "/www")
	load := &load{t: t, e: e}
	load.answerTCP(e.Internet(), 8091)
	await(t, 5*time.Second, "httpd", func() bool {
		return e.CommandOutside("curl", "-s", "-m", "2", "http://"+hostAddress.String()+":8090/test").Run() == nil
	})

	w, screen := startWatch(t, e, "--json", "tcp", "or", "icmp"), startWatch(t, e, "tcp", "or", "icmp")
	// By its own program, by one of the host, and by nobody who could be found.
	e.Docker("exec", "hosted", "sh", "-c", "(echo hello; sleep 1) | nc -w 1 "+internet.String()+" 8091")
	conn, err := lab.DialTCP(t.Context(), e.Host(), netip.MustParseAddrPort("0.0.0.0:34101"), netip.AddrPortFrom(internet, 8091))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fetched(t, e.CommandOutside("curl", "-sS", "-m", "5", "--local-port", "34102", "http://"+hostAddress.String()+":8090/test"))
	e.Docker("exec", "hosted", "ping", "-c", "1", "-W", "3", internet.String())
	time.Sleep(300 * time.Millisecond)
	all, _ := w.journeys()
	screen.end()
	t.Log(screen.stdout.String())

	syn := only(t, "SYN of the container", with(all, func(j *journey) bool {
		return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" && j.To.Port == 8091 && j.From.Port != 34101
	}))
	same(t, "who sent it", syn.From.Name+" "+syn.From.IP, "hosted "+hostAddress.String())
	sameJSON(t, "containers of the sender", syn.From.Containers, []string{"hosted"})
	says(t, "notes", noteOf(syn), "sent by hosted, which is on the host's own network: process ", "holds the socket")
	own := only(t, "SYN of the host", segments(all, 34101, "SYN"))
	same(t, "who sent it", own.From.Name, "host")
	says(t, "notes", noteOf(own), "NOT hosted")
	asked := only(t, "SYN to the container", segments(all, 34102, "SYN"))
	same(t, "who got it", asked.To.Name, "hosted")
	says(t, "notes", noteOf(asked), "got by hosted, which is on the host's own network")
	for _, j := range with(all, func(j *journey) bool { return j.Hops[0].TCP != nil && j.Hops[0].Source.Port == syn.From.Port }) {
		same(t, "who sent "+j.Info, j.From.Name, "hosted")
	}
	ping := only(t, "ping", with(all, func(j *journey) bool { return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 }))
	same(t, "who pinged", ping.From.Name, "host")
	says(t, "notes of the ping", noteOf(ping), "sent by the host or a host-network container (hosted): a ping's socket can't be found")
}
