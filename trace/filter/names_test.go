package filter

import (
	"fmt"
	"testing"
)

func TestNamesInAFilter(t *testing.T) {
	for expression, want := range map[string]string{
		"":                       "[] [] []",
		"tcp port 80":            "[] [] []",
		"back and not port 80":   "[back] [] []",
		"back or (tcp and back)": "[back] [] []",
		"src container back and not (network back_net or dst container web)": "[back web] [back_net] []",
		"link eth0 or not link back/eth0 or link back:eth0":                  "[] [] [eth0 back:eth0]",
		"ip network a and network b":                                         "[] [a b] []",
		"1234abcd":                                                           "[long] [] []", // as known by the beginning of its id
	} {
		f, err := Parse(expression, func(word string) string { return map[string]string{"1234abcd": "long"}[word] })
		if err != nil {
			t.Fatal(err)
		}
		containers, networks, links := f.Names()
		if got := fmt.Sprint(containers, networks, links); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}
