package probe

import (
	"slices"
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netns"
)

func TestNamespaces(t *testing.T) {
	host := fixture()
	predict := withoutRules(host).predict
	for _, c := range []struct {
		from, to string
		want     []netns.ID
	}{
		{"ubuntu", "back", []netns.ID{ubuntuNS, backNS, hostNS}},
		{"back", "database", []netns.ID{backNS, databaseNS, hostNS}},
		{"ubuntu", "198.51.100.7", []netns.ID{ubuntuNS, hostNS}},
		{"back", "server.example", []netns.ID{backNS}}, // whose address only a query tells
		{"nobody", "back", nil},
	} {
		r := Request{From: c.from, To: c.to, Protocol: packet.ICMP}
		if got := Namespaces(host, predict, []Request{r, r}); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", r, got, c.want)
		}
	}
}
