package text

import (
	"strings"
	"testing"

	"natlens/internal/doctor"
)

func TestDoctor(t *testing.T) {
	r := doctor.Report{
		{Group: "privileges", Name: "CAP_NET_RAW", Status: doctor.OK, Found: "held", Means: "watch may open packet rings"},
		{Group: "privileges", Name: "CAP_NET_ADMIN", Status: doctor.Missing, Found: "not held",
			Means: "watch and flows can't ask conntrack; explain can't read NAT rules", Blocks: true},
		{Group: "conntrack", Name: "timestamps", Status: doctor.Limited, Found: "off", Means: "watch knows when a flow began only to some milliseconds"},
		{Group: "engine", Name: "engine", Status: doctor.OK, Found: "Docker \x1b[31mEngine"},
	}
	for _, c := range []struct {
		name string
		st   Style
	}{{"doctor", narrow}, {"doctor-wide", wide}, {"doctor-40", Style{Width: 40}}} {
		got := c.st.Doctor(r)
		if strings.Contains(got, "\x1b") {
			t.Errorf("%s: an escape sequence came through: %q", c.name, got)
		}
		golden(t, c.name, c.st, got)
	}
	if got := uncoloured((Style{Color: true}).Doctor(r)); got != (Style{}).Doctor(r) {
		t.Errorf("colour changes the text:\n%s", got)
	}
}
