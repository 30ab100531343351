package main

import (
	"os"
	"testing"
)

func TestLocaleIsUTF8(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, true}, // containers, rescue shells
		{map[string]string{"LANG": "C.UTF-8"}, true},
		{map[string]string{"LANG": "en_US.utf8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "en_US.UTF-8", "LANG": "C"}, true},
		{map[string]string{"LC_ALL": "", "LANG": "C"}, false},
	} {
		if got := localeIsUTF8(func(name string) string { return test.env[name] }); got != test.want {
			t.Errorf("%v: UTF-8 %v, want %v", test.env, got, test.want)
		}
	}
}

func TestTerminalOfAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	none := func(string) string { return "" }
	if got := terminalOf(w, none); got.interactive || got.color || got.width != 0 {
		t.Errorf("a pipe is %+v, want no terminal, no colour, no width", got)
	}
	columns := func(name string) string { return map[string]string{"COLUMNS": "120"}[name] }
	if got := terminalOf(w, columns); got.width != 120 {
		t.Errorf("COLUMNS=120: width %d", got.width)
	}
}

func TestColor(t *testing.T) {
	for _, test := range []struct {
		flag    string
		welcome bool
		want    bool
	}{
		{"auto", true, true}, {"auto", false, false},
		{"always", false, true}, {"never", true, false},
	} {
		a := &app{color: test.flag, terminal: terminal{color: test.welcome}}
		if got := a.style().Color; got != test.want {
			t.Errorf("--color %s, welcome %v: %v, want %v", test.flag, test.welcome, got, test.want)
		}
	}
}
