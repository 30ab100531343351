package probe

import (
	"strings"
	"testing"

	"natlens/capture/packet"
)

func TestReadPolicy(t *testing.T) {
	rules, err := ReadPolicy(strings.NewReader("# who may talk to whom\n\n" +
		"back -> database:5432 reached\n  ubuntu ->  back:53/udp   dropped # isolation\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Request{From: "back", To: "database", Port: 5432, Protocol: packet.TCP}, Reached, 3},
		{Request{From: "ubuntu", To: "back", Port: 53, Protocol: packet.UDP}, Dropped, 4},
	}
	if len(rules) != len(want) {
		t.Fatalf("%d rules, want %d", len(rules), len(want))
	}
	for i := range want {
		if rules[i] != want[i] {
			t.Errorf("%+v, want %+v", rules[i], want[i])
		}
	}
}

func TestReadPolicyNamesTheLine(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"", "no line asks"},
		{"# nothing\n", "no line asks"},
		{"back -> database reached\nback database reached\n", "line 2: "},
		{"back -> database fine\n", `line 1: the result is one of reached, refused, dropped, unreachable, lost, unresolved, not "fine"`},
		{"\nback -> database:x reached\n", "line 2: database:x: the port"},
	} {
		if _, err := ReadPolicy(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.text, err, c.says)
		}
	}
}
