package e2e

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"natlens/internal/lab/engine"
)

// rejection is a packet that a rule rejects, and what its reason says.
type rejection struct {
	knockOnce
	says string
}

func rejected(t *testing.T, e *engine.Engine, filter string, all []rejection) {
	t.Helper()
	w := startWatch(t, e, "--json", filter)
	var counted [][]string
	for i := range all {
		counted = append(counted, all[i].knock(t, e, "iptables-save"))
	}
	time.Sleep(4 * time.Second) // what does not go on is waited for
	journeys, _ := w.journeys()
	for i := range all {
		k := &all[i]
		j := only(t, k.name, with(journeys, k.is))
		k.check(t, j, "iptables-save", counted[i])
		says(t, k.name, j.Verdict.Reason, k.says)
	}
}

// TestCaseRejectedByRule: a rule that rejects tells the sender, by an error that is seen,
// too. What it says is no reason to leave out the rule, which iptables-save tells by what
// it counted.
func TestCaseRejectedByRule(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	back, gateway := ipOf(t, e, "back", "bridge"), netip.MustParseAddr("172.17.0.1")
	for _, line := range []string{
		"-I DOCKER-USER -p udp --dport 6201 -j REJECT",
		"-I DOCKER-USER -p udp --dport 6202 -j REJECT --reject-with icmp-admin-prohibited",
		"-I FORWARD -p udp --dport 6203 -j REJECT --reject-with icmp-host-unreachable",
		"-A INPUT -p udp --dport 6204 -j REJECT",
		"-A INPUT -p udp --dport 6205 -j REJECT --reject-with icmp-proto-unreachable",
	} {
		must(t, e.Command("iptables", append([]string{"-w"}, strings.Fields(line)...)...))
	}
	to := func(from func(string, ...string) *exec.Cmd, ip fmt.Stringer) func(int) *exec.Cmd {
		return func(port int) *exec.Cmd { return from("bash", "-c", fmt.Sprintf("echo x > /dev/udp/%s/%d", ip, port)) }
	}
	front := inContainer(e, "front")
	rejected(t, e, "udp or icmp", []rejection{
		{knockOnce{"to the internet", 6201, to(front, internet), "docker0", "DOCKER-USER"}, "port unreachable, says 172.17.0.1 (#"},
		{knockOnce{"with a reason of its own", 6202, to(front, internet), "docker0", "DOCKER-USER"}, "administratively prohibited, says 172.17.0.1 (#"},
		{knockOnce{"across a bridge", 6203, to(front, back), vethOf(t, e, "front", "eth0"), "FORWARD"}, "host unreachable, says 172.17.0.1 (#"},
		{knockOnce{"to the host, by a container", 6204, to(front, gateway), "docker0", "INPUT"}, "port unreachable, says 172.17.0.1 (#"},
		{knockOnce{"to the host, from outside", 6205, to(e.CommandOutside, hostAddress), "eth0", "INPUT"}, "protocol unreachable, says " + hostAddress.String() + " (#"},
	})
}

// TestCaseResetByRule: a rule can reject connections by a reset, which bears the address of
// whom they were for. What a program resets, it got.
func TestCaseResetByRule(t *testing.T) {
	e := engine.Start(t)
	e.Run("--name", "front", "box")
	e.Run("--name", "back", "box")
	back := ipOf(t, e, "back", "bridge")
	for _, line := range []string{
		"-I DOCKER-USER -p tcp --dport 6211 -j REJECT --reject-with tcp-reset",
		"-I FORWARD -p tcp --dport 6212 -j REJECT --reject-with tcp-reset",
		"-A INPUT -p tcp --dport 6213 -j REJECT --reject-with tcp-reset",
	} {
		must(t, e.Command("iptables", append([]string{"-w"}, strings.Fields(line)...)...))
	}
	to := func(ip fmt.Stringer) func(int) *exec.Cmd {
		return func(port int) *exec.Cmd {
			return e.CommandIn("front", "bash", "-c", fmt.Sprintf("! (echo > /dev/tcp/%s/%d)", ip, port))
		}
	}
	rejected(t, e, "tcp", []rejection{
		{knockOnce{"to the internet", 6211, to(internet), "docker0", "DOCKER-USER"}, "reset in the name of 198.51.100.7 (#"},
		{knockOnce{"across a bridge", 6212, to(back), vethOf(t, e, "front", "eth0"), "FORWARD"}, "reset in the name of " + back.String() + " (#"},
		{knockOnce{"to the host", 6213, to(netip.MustParseAddr("172.17.0.1")), "docker0", "INPUT"}, "reset in the name of 172.17.0.1 (#"},
	})
	w := startWatch(t, e, "--json", "tcp")
	must(t, to(back)(6214))
	time.Sleep(time.Second)
	all, _ := w.journeys()
	if v := only(t, "SYN", with(all, func(j *journey) bool { return j.To.Port == 6214 })).Verdict; v.Result != "delivered" {
		t.Errorf("reset by a program: %+v", v)
	}
}
