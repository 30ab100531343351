package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"natlens/internal/e2e/oracletest"
	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// What the host itself sends meets a user's own rules at OUTPUT and POSTROUTING,
// before any tap sees it. Its answer is translated back behind the last tap.
func TestCaseOwnTraffic(t *testing.T) {
	const elsewhere = "198.51.100.77" // nobody's
	e := engine.Start(t)
	l := &load{t: t, e: e}
	for _, port := range []uint16{5001, 5002, 5003} {
		l.answerUDP(e.Internet(), netip.AddrPortFrom(internet, port))
	}
	l.answerTCP(e.Host(), 8098)
	for _, c := range []struct {
		what     string
		rule     string // of the nat table
		port     uint16 // of the client
		from, to string // of the socket
		kind     string
		hook     string // of the question's translation
		becomes  string // source and destination, at the first tap
		path     string
		end      string
		reply    string // path and end of the answer
		replyEnd string
		undo     string // hook of the answer's translation
	}{
		{
			what: "dnat", rule: "OUTPUT -d 198.51.100.77/32 -p udp -m udp --dport 5000 -j DNAT --to-destination 198.51.100.7:5001",
			port: 37100, from: "192.0.2.10", to: elsewhere + ":5000", kind: "dnat", hook: "output",
			becomes: "192.0.2.10:37100 > 198.51.100.7:5001", path: "host:eth0 out", end: "left at host:eth0 out",
			reply: "host:eth0 in", replyEnd: "delivered at host:eth0 in", undo: "input",
		},
		{
			what: "snat", rule: "POSTROUTING -o eth0 -p udp -m udp --dport 5002 -j SNAT --to-source 192.0.2.10:41000-41009",
			port: 37101, from: "192.0.2.10", to: "198.51.100.7:5002", kind: "snat", hook: "postrouting",
			becomes: "192.0.2.10:4100", path: "host:eth0 out", end: "left at host:eth0 out",
			reply: "host:eth0 in", replyEnd: "delivered at host:eth0 in", undo: "prerouting",
		},
		{
			what: "masquerade", rule: "POSTROUTING -s 172.17.0.1/32 -o eth0 -p udp -m udp --dport 5003 -j MASQUERADE",
			port: 37102, from: "172.17.0.1", to: "198.51.100.7:5003", kind: "masquerade", hook: "postrouting",
			becomes: "192.0.2.10:37102 > 198.51.100.7:5003", path: "host:eth0 out", end: "left at host:eth0 out",
			reply: "host:eth0 in", replyEnd: "delivered at host:eth0 in", undo: "prerouting",
		},
		{
			what: "redirect", rule: "OUTPUT -d 198.51.100.7/32 -p tcp -m tcp --dport 8099 -j REDIRECT --to-ports 8098",
			port: 37103, from: "192.0.2.10", to: "198.51.100.7:8099", kind: "redirect", hook: "output",
			becomes: "192.0.2.10:37103 > 127.0.0.1:8098", path: "host:lo out, host:lo in", end: "delivered at host:lo in",
			reply: "host:lo out, host:lo in", replyEnd: "delivered at host:lo in", undo: "postrouting",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			rule := strings.Fields(c.rule)
			must(t, e.Command("iptables", append([]string{"-t", "nat", "-I"}, rule...)...))
			defer func() { must(t, e.Command("iptables", append([]string{"-t", "nat", "-D"}, rule...)...)) }()
			rules := iptablesSave(t, e.Command)
			s := openScene(t, e)
			switch c.kind {
			case "snat":
				s.kinds[0] = c.kind
			case "redirect":
				s.kinds[1] = c.kind
			}
			from, to := netip.AddrPortFrom(netip.MustParseAddr(c.from), c.port), netip.MustParseAddrPort(c.to)
			if c.kind == "redirect" {
				s.connect(e.Host(), c.port, to, 1)
			} else {
				u, err := lab.DialUDP(e.Host(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				_, err = lab.Exchange(t.Context(), u, s.words(40))
				s.must(err)
				s.must(u.Close())
			}
			all := s.close()

			question := only(t, "question", with(all, func(j *journey) bool {
				return j.From.Port == c.port && (j.Hops[0].TCP == nil || j.Hops[0].TCP.Flags == syn)
			}))
			same(t, "from", question.From.Name+" "+question.From.IP, "host "+c.from)
			same(t, "path", shape(question), c.path)
			same(t, "end", question.End(), c.end)
			first := question.Hops[0]
			if got := ends(first.Source, first.Destination); !strings.HasPrefix(got, c.becomes) {
				t.Errorf("at the first tap %s, want %s", got, c.becomes)
			}
			tr := oneTranslation(t, question)
			if tr.Kind != c.kind || tr.Hook != c.hook || tr.Between[0] != nil || tr.Before.Source != (address{IP: c.from, Port: c.port}) ||
				tr.Before.Destination != (address{IP: to.Addr().String(), Port: to.Port()}) {
				t.Errorf("%+v", tr)
			}
			if tr.Rule == nil || tr.Rule.Text != rules.one(t, "-A "+c.rule, "") {
				t.Errorf("rule %+v, want -A %s", tr.Rule, c.rule)
			}
			answer := only(t, "answer", with(all, func(j *journey) bool {
				return len(j.Related) > 0 && j.Related[0].ID == question.ID && j.Related[0].Why == "reply_to" && (j.Hops[0].TCP == nil || j.Hops[0].TCP.Flags == "SYN ACK")
			}))
			same(t, "path of the answer", shape(answer), c.reply)
			same(t, "end of the answer", answer.End(), c.replyEnd)
			if back := oneTranslation(t, answer); back.Kind != c.kind || !back.Undo || back.Hook != c.undo ||
				back.After.Destination != (address{IP: c.from, Port: c.port}) {
				t.Errorf("the answer: %+v", back)
			}
		})
	}
}

func oneTranslation(t *testing.T, j *journey) *oracletest.Translation {
	t.Helper()
	if len(j.Translations) != 1 {
		t.Fatalf("%s: translations %+v, want one", shape(j), j.Translations)
	}
	return &j.Translations[0]
}
