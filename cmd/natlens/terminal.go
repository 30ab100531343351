package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// terminal is what is known about the place where text appears.
type terminal struct {
	interactive bool // a person sees it, not a pipe or file
	color       bool // colour is welcome when nobody said anything else
	width       int  // columns; 0 when unknown
	utf8        bool
}

// terminalOf looks at standard output and at the environment.
func terminalOf(out *os.File, getenv func(string) string) terminal {
	var t terminal
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		t.interactive = true
		if width, _, err := term.GetSize(fd); err == nil {
			t.width = width
		}
	}
	if columns, err := strconv.Atoi(getenv("COLUMNS")); err == nil && columns > 0 {
		t.width = columns
	}
	// https://no-color.org: set and not empty, whatever its value.
	t.color = t.interactive && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	t.utf8 = localeIsUTF8(getenv)
	return t
}

// localeIsUTF8 asks the variables that decide about characters, in the order of
// locale(7). Strictly, none of them set means ASCII; but that is how containers
// and rescue shells look, whose terminals all show UTF-8. Only a locale that
// names another encoding turns it off.
func localeIsUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(getenv(name)); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return true
}
