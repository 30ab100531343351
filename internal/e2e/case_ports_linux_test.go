package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// Two containers use one source port, or one echo id, to one destination: NAT
// must give one of them another. Each way of choosing it is a case.
func TestCaseCollidingSources(t *testing.T) {
	base := uint16(38000) // entries of datagrams outlive a subtest
	for name, c := range map[string]struct {
		rule     []string // of POSTROUTING, before Docker's own
		kind     string
		low, top int // of the new ports
	}{
		"masquerade":              {kind: "masquerade", low: 1, top: 65535},
		"masquerade random":       {rule: []string{"-j", "MASQUERADE", "--random"}, kind: "masquerade", low: 1024, top: 65535},
		"masquerade random-fully": {rule: []string{"-j", "MASQUERADE", "--random-fully"}, kind: "masquerade", low: 1024, top: 65535},
		"masquerade to ports":     {rule: []string{"-j", "MASQUERADE", "--to-ports", "40000-40009"}, kind: "masquerade", low: 40000, top: 40009},
		"snat to ports":           {rule: []string{"-j", "SNAT", "--to-source", "192.0.2.10:41000-41009"}, kind: "snat", low: 41000, top: 41009},
	} {
		t.Run(name, func(t *testing.T) {
			base += 10
			e := engine.Shared(t)
			e.Run("--name", "back", "box")
			e.Run("--name", "front", "box")
			if c.rule != nil {
				for _, p := range []string{"tcp", "udp"} {
					rule := append([]string{"POSTROUTING", "-s", "172.17.0.0/16", "-o", "eth0", "-p", p}, c.rule...)
					must(t, e.Command("iptables", append([]string{"-t", "nat", "-I"}, rule...)...))
					defer func() { must(t, e.Command("iptables", append([]string{"-t", "nat", "-D"}, rule...)...)) }()
				}
			}
			l := &load{t: t, e: e}
			l.answerTCP(e.Internet(), 8000)
			l.answerUDP(e.Internet(), netip.AddrPortFrom(internet, 5000))
			s := openScene(t, e, "back", "front")
			s.kinds[0] = c.kind
			if c.kind != "masquerade" {
				s.skip = func(p *oracletest.Packet) bool { return p.Sightings[0].Protocol == 1 } // by Docker's own rule
			}
			var open []*net.TCPConn // both at once: the port of one that has ended may be used again
			for _, name := range []string{"back", "front"} {
				in := e.Namespace(name)
				open = append(open, s.converse(in, base, netip.AddrPortFrom(internet, 8000), 2))
				u, err := lab.DialUDP(in, netip.AddrPortFrom(netip.IPv4Unspecified(), base+1), netip.AddrPortFrom(internet, 5000))
				if err != nil {
					t.Fatal(err)
				}
				_, err = lab.Exchange(t.Context(), u, []byte("the same words"))
				s.must(err)
				s.must(u.Close())
				_, err = lab.Ping(t.Context(), in, internet, lab.Echo{ID: base + 2, Seq: 1, Payload: []byte("the same ping")})
				s.must(err)
			}
			for _, c := range open {
				s.must(c.Close())
			}
			all := s.close()
			for what, question := range map[string]func(*journey) bool{
				"SYN": func(j *journey) bool {
					return j.Hops[0].TCP != nil && j.Hops[0].TCP.Flags == "SYN" && j.Hops[0].Source.Port == base
				},
				"datagram": func(j *journey) bool { return j.Protocol == "udp" && j.Hops[0].Source.Port == base+1 },
				"echo": func(j *journey) bool {
					return j.Hops[0].ICMP != nil && j.Hops[0].ICMP.Type == 8 && j.Hops[0].ICMP.ID == int(base+2)
				},
			} {
				var numbers []string
				for _, j := range with(all, question) {
					same(t, what+" of "+j.From.Name, j.End(), "left at host:eth0 out")
					if len(j.Translations) != 1 || j.Translations[0].Rule == nil {
						t.Fatalf("%s of %s: %+v", what, j.From.Name, j.Translations)
					}
					tr := j.Translations[0]
					number := int(tr.After.Source.Port)
					if what == "echo" {
						number = j.Hops[len(j.Hops)-1].ICMP.ID
					} else {
						same(t, what, tr.Kind, c.kind)
						if number < c.low || number > c.top {
							t.Errorf("%s: source port %d, want %d to %d", what, number, c.low, c.top)
						}
						if text := tr.Rule.Text; !strings.HasSuffix(text, strings.Join(c.rule, " ")) {
							t.Errorf("%s: rule %q", what, text)
						}
					}
					numbers = append(numbers, fmt.Sprint(number))
					// Its answer finds the same container.
					answer := only(t, "answer to "+what+" of "+j.From.Name, with(all, func(a *journey) bool {
						return len(a.Related) > 0 && a.Related[0].ID == j.ID && a.Related[0].Why == "reply_to"
					}))
					same(t, "answer to "+what, answer.To.Name, j.From.Name)
				}
				if len(numbers) != 2 || numbers[0] == numbers[1] {
					t.Errorf("%s: %v, want one for each container", what, numbers)
				}
			}
		})
	}
}

// A connection takes over the port of one that has ended: the kernel gives up an entry
// in TIME_WAIT where no other port is free (nf_nat_used_tuple_harder in net/netfilter/nf_nat_core.c). What
// was sent before is still of the first one.
func TestCasePortTakenOver(t *testing.T) {
	e := engine.Shared(t)
	containers := []string{"back", "front"}
	for _, name := range containers {
		e.Run("--name", name, "box")
	}
	rule := []string{"POSTROUTING", "-s", "172.17.0.0/16", "-o", "eth0", "-p", "tcp", "-j", "MASQUERADE", "--to-ports", "40020"}
	must(t, e.Command("iptables", append([]string{"-t", "nat", "-I"}, rule...)...))
	defer func() { must(t, e.Command("iptables", append([]string{"-t", "nat", "-D"}, rule...)...)) }()
	l := &load{t: t, e: e}
	l.answerTCP(e.Internet(), 8000)
	s := openScene(t, e, containers...)
	const port = 38520
	for _, name := range containers {
		s.connect(e.Namespace(name), port, netip.AddrPortFrom(internet, 8000), 2)
		oracletest.Await(t, 5*time.Second, "an entry in TIME_WAIT", func() bool {
			out, err := e.Command("conntrack", "-L", "-p", "tcp", "--state", "TIME_WAIT", "--orig-src", ipOf(t, e, name, "bridge").String()).Output()
			return err == nil && strings.Contains(string(out), "dport=40020")
		})
	}
	all := s.close()
	for _, name := range containers {
		sent := with(all, func(j *journey) bool { return j.From.Name == name })
		got := with(all, func(j *journey) bool { return j.To.Name == name })
		for _, j := range slices.Concat(sent, got) {
			if len(j.Translations) != 1 {
				t.Fatalf("%+v", j)
			}
			same(t, "id", j.Translations[0].ConntrackID, sent[0].Translations[0].ConntrackID)
		}
		if len(sent) < 4 || len(got) < 4 {
			t.Errorf("%s sent %d packets and got %d", name, len(sent), len(got))
		}
	}
}

// A range of ports is published by one rule each.
func TestCasePublishedRange(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "back", "-p", "8000-8010:8000-8010", "box")
	l := &load{t: t, e: e}
	l.answerTCP(e.Namespace("back"), 8000)
	l.answerTCP(e.Namespace("back"), 8007)
	l.answerTCP(e.Namespace("back"), 8010)
	back := ipOf(t, e, "back", "bridge").String()
	rules := iptablesSave(t, e.Command)
	s := openScene(t, e, "back")
	for i, port := range []uint16{8000, 8007, 8010} {
		s.connect(e.Internet(), 38500+uint16(i), netip.AddrPortFrom(hostAddress, port), 1)
	}
	all := s.close()
	for i, port := range []uint16{8000, 8007, 8010} {
		syn := only(t, "SYN", segments(all, 38500+uint16(i), "SYN"))
		same(t, "SYN", syn.End(), "delivered at back:eth0 in")
		if len(syn.Translations) != 1 || syn.Translations[0].Rule == nil {
			t.Fatalf("%+v", syn.Translations)
		}
		same(t, "rule", syn.Translations[0].Rule.Text, rules.one(t, "-A DOCKER ! -i docker0 -p tcp", fmt.Sprintf("--to-destination %s:%d", back, port)))
	}
}
