package probe

import (
	"strings"
	"testing"
)

// Rules that are read are of lines that there are, in their order.
func FuzzReadPolicy(f *testing.F) {
	for _, text := range []string{
		"back -> database:5432 reached\n", "# nothing\n\nubuntu -> back:53/udp dropped # why\n", "back -> [2001:db8::1]:80 refused\n",
		"back => database reached\n", "back -> database:99999 reached\n", "back -> 192.0.2.1 gone\n", "a -> b reached\nhost -> 198.51.100.7/icmp unanswered",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := ReadPolicy(strings.NewReader(text))
		if (err == nil) != (len(rules) > 0) {
			t.Errorf("%d rules, %v", len(rules), err)
		}
		last := 0
		for _, r := range rules {
			if _, ok := resultOf(string(r.Want)); !ok || r.Line <= last || r.Line > strings.Count(text, "\n")+1 || r.Request.From == "" {
				t.Errorf("%+v", r)
			}
			last = r.Line
		}
	})
}
