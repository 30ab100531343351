package trace

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"natlens/capture"
	"natlens/capture/packet"
	"natlens/netinfo"
	"natlens/netinfo/netfilter"
)

// between is switched with states of database's link and of its port.
func between(number uint64, at int64, end, port string) *netinfo.Topology {
	t := switched()
	t.Number, t.Time = number, time.Unix(0, at)
	set := func(l *netinfo.Link, state string) { l.State, l.Up = state, state != "down" }
	set(t.Namespace(baseNS).Links[0], end)
	set(t.Namespace(hostNS).Links[4], port)
	return t.Seal()
}

// A bridge sends nothing to a port that carries nothing. What routes and their settings do
// has no part in it.
func TestBridgeWithoutAPortForIt(t *testing.T) {
	passes := oneRule(t, hostNS, netfilter.Forward, packet.UDP, netfilter.Dropped)
	drops := oneRule(t, hostNS, netfilter.Forward, packet.ICMP, netfilter.Dropped)
	const sure, inferred, noPort = "dropped at  [evaluated] ", "dropped at  [inferred] connection tracking never confirmed it: ", "docker0 has no port that forwards to its MAC address"
	for _, c := range []struct {
		name      string
		rules     *netfilter.Ruleset
		end, port string // their states
		later     bool   // they came about after the packet
		want      string
	}{
		{"its end is down", passes, "down", "lowerlayerdown", false, sure + "docker0 sends it nowhere: eth0 of database, which has its MAC address, is down"},
		{"the port is down", passes, "lowerlayerdown", "down", false, sure + "docker0 sends it nowhere: vethbase, behind which its MAC address is, is down"},
		{"the port has no carrier", passes, "up", "lowerlayerdown", false, sure + "docker0 sends it nowhere: vethbase, behind which its MAC address is, has no carrier"},
		{"no rule is met", drops, "down", "lowerlayerdown", false, sure + "docker0 sends it nowhere: eth0 of database, which has its MAC address, is down"},
		{"no rules are known", nil, "down", "lowerlayerdown", false, sure + "docker0 sends it nowhere: eth0 of database, which has its MAC address, is down"},
		{"it went down later", passes, "down", "lowerlayerdown", true, inferred + "the rules let it pass, so likely " + noPort + ", or the ports are kept apart (bridge link: isolated, or state)"},
		{"all are up", passes, "up", "up", false, inferred + "the rules let it pass, so likely " + noPort + ", or the ports are kept apart (bridge link: isolated, or state)"},
		{"no rules are known, all are up", nil, "up", "up", false, "dropped at forward [inferred] connection tracking never confirmed it: a rule dropped it, or " + noPort},
	} {
		s := newDropStage(t)
		if s.c.SetTopology(between(2, 2, "up", "up")); !c.later {
			s.c.SetTopology(between(3, s.now-1e9, c.end, c.port))
		}
		if c.rules != nil {
			s.c.SetRuleset(c.rules)
		}
		s.see(vethIn, ping(t, backIP, baseIP, 1, 1, false))
		s.pass(100 * time.Millisecond)
		if c.later {
			s.c.SetTopology(between(3, s.now, c.end, c.port))
		}
		s.pass(4 * time.Second)
		v := sole(t, s).Verdict
		if got := fmt.Sprintf("%s at %s [%s] %s", v.Result, v.Hook, v.Evidence, v.Reason); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What is up again was down when the packet came: for sure where that lasted.
func TestBridgePortThatIsUpAgain(t *testing.T) {
	const down = "docker0 sends it nowhere: eth0 of database, which has its MAC address, is down"
	for later, want := range map[time.Duration]bool{time.Second: true, 300 * time.Millisecond: false} {
		s := newDropStage(t)
		s.c.SetTopology(between(2, 2, "up", "up"))
		s.c.SetTopology(between(3, s.now-1e9, "down", "lowerlayerdown"))
		s.see(vethIn, ping(t, backIP, baseIP, 1, 1, false))
		s.pass(later)
		s.c.SetTopology(between(4, s.now, "up", "up"))
		s.pass(100 * time.Millisecond)
		s.see(vethIn, ping(t, backIP, baseIP, 1, 2, false))
		s.pass(4 * time.Second)
		if len(s.journeys) != 2 || (s.journeys[0].Verdict.Reason == down) != want || s.journeys[1].Verdict.Reason == down {
			t.Errorf("up again after %v: %s", later, s.verdicts())
		}
	}
}

// The host itself sends to a bridge whose port carries nothing.
func TestBridgeWithoutAPortForItsOwn(t *testing.T) {
	s := newStage(t)
	s.c.SetTopology(between(2, 2, "down", "lowerlayerdown"))
	s.see(bridgeOut, ping(t, gatewayIP, baseIP, 1, 1, false))
	s.pass(4 * time.Second)
	if v := sole(t, s).Verdict; v.Result != Dropped || v.Reason != "docker0 sends it nowhere: eth0 of database, which has its MAC address, is down" {
		t.Errorf("%+v", v)
	}
}

// Where connection tracking does not see what bridges pass on, it has nothing to confirm.
func TestBridgedPastConnectionTracking(t *testing.T) {
	s := newDropStage(t)
	s.c.SetTopology(between(2, 2, "up", "up"))
	unseen := &netfilter.Ruleset{}
	if err := json.Unmarshal([]byte(`{"Namespace": 1, "Time": 1, "Whole": true, "Bridged": [1, 1]}`), unseen); err != nil {
		t.Fatal(err)
	}
	s.c.SetRuleset(unseen)
	s.see(vethIn, ping(t, backIP, baseIP, 1, 1, false))
	s.pass(4 * time.Second)
	const want = "not seen again, and connection tracking does not see what bridges pass on: likely docker0 has no port that forwards to its MAC address, or a queue of that port"
	if v := sole(t, s).Verdict; v.Result != Vanished || v.Reason != want {
		t.Errorf("%s: %s", v.Result, v.Reason)
	}
}

// A bridge that has forgotten where the address is sends the frame to all that are left.
func TestFloodInsteadOfADeadPort(t *testing.T) {
	s := newStage(t)
	s.c.SetTopology(between(2, 2, "down", "lowerlayerdown"))
	s.see(bridgeOut, ping(t, gatewayIP, baseIP, 1, 1, false))
	s.see(vethOut, ping(t, gatewayIP, baseIP, 1, 1, false))
	s.see(at{backNS, eth0, capture.OtherHost}, ping(t, gatewayIP, baseIP, 1, 1, false))
	s.pass(4 * time.Second)
	const want = "its MAC address is another's: not accepted here: eth0 of database, which has its MAC address, is down"
	if v := sole(t, s).Verdict; v.Result != Vanished || v.Reason != want {
		t.Errorf("%s: %s", v.Result, v.Reason)
	}
}

// A link that was down is gone, while the host's veth still names it as its other end:
// namespaces are not read at one moment.
func TestDeadPortWhoseOtherEndIsGone(t *testing.T) {
	s := newStage(t)
	base := -1
	for i, change := range []func(w *netinfo.Topology){
		func(*netinfo.Topology) {},
		func(w *netinfo.Topology) { w.Namespace(baseNS).Links[0].State = "down" },
		func(w *netinfo.Topology) {
			base = slices.IndexFunc(w.Namespaces, func(n *netinfo.Namespace) bool { return n.ID == baseNS })
			w.Namespaces = slices.Delete(w.Namespaces, base, base+1)
		},
	} {
		w := switched()
		w.Time = time.Unix(0, s.now).Add(time.Duration(10*i-30) * time.Second)
		change(w)
		s.c.SetTopology(w.Seal())
	}
	f := udp(t, port(backIP, 4000), port(baseIP, 99), 7, "x")
	s.see(backOut, f)
	s.see(vethIn, f)
	s.pass(4 * time.Second)
	s.pass(4 * time.Second)
	if j := sole(t, s); j.Verdict.Result != Vanished {
		t.Errorf("%+v", j.Verdict)
	}
}
