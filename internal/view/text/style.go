// Package text shows journeys and topologies as text for a terminal. Its
// functions are pure: they return what is to be printed.
//
// Everything that came from outside (packets, names, labels, rules) passes
// through Style.Escape before it stands beside natlens's own words.
package text

import (
	"time"
)

// DefaultWidth is the number of columns when the terminal does not say.
const DefaultWidth = 80

// minWidth is the least width that layouts are made for.
const minWidth = 40

// Style says how text is to look. The zero Style is plain: no colour, 80
// columns, numbers instead of names. It is a value; whoever parses the flags
// fills it in (NO_COLOR, --color and the locale are not looked at here).
type Style struct {
	Color bool
	// Width is the number of columns that no line exceeds; 0 stands for
	// DefaultWidth, and anything below 40 for 40.
	Width int
	// Names: say containers' and namespaces' names where they are known.
	Names bool
	// ASCII: the terminal cannot show UTF-8, so that arrows and names are
	// written in ASCII.
	ASCII bool
	// Zone is the time zone of printed times; nil stands for time.Local.
	Zone *time.Location
}

// Tone is what a piece of text is, so that a Style can colour it.
type Tone uint8

// The tones. Text must be readable without any of them.
const (
	Plain Tone = iota
	Before
	After
	Name
	Dim
	Strong
	Good
	Bad
)

// sgr holds the colour of each Tone (ECMA-48, section 8.3.117). These are the
// terminal's own palette, which people adapt to their background and eyes.
// Before and After differ for those who can't tell red from green, too.
var sgr = [...]string{
	Plain: "", Before: "33", After: "36", Name: "1;34", Dim: "2", Strong: "1", Good: "32", Bad: "1;31",
}

const sgrReset = "\x1b[0m"

// Paint returns s in the colour of a Tone, or s itself when colour is off. s
// must be escaped already.
func (st Style) Paint(t Tone, s string) string {
	if !st.Color || s == "" || sgr[t] == "" {
		return s
	}
	return "\x1b[" + sgr[t] + "m" + s + sgrReset
}

// Columns returns the width that layouts may use.
func (st Style) Columns() int {
	switch {
	case st.Width == 0:
		return DefaultWidth
	case st.Width < minWidth:
		return minWidth
	}
	return st.Width
}

// Symbols that are more than ASCII, and what stands for them.
type symbols struct {
	arrow, becomes, branch, last, bar, cross, micro, ellipsis string
}

var (
	unicodeSymbols = symbols{arrow: "→", becomes: "⇒", branch: "├", last: "└", bar: "│", cross: "✗", micro: "µs", ellipsis: "…"}
	asciiSymbols   = symbols{arrow: "->", becomes: "=>", branch: "|", last: "`", bar: "|", cross: "x", micro: "us", ellipsis: "..."}
)

func (st Style) symbols() *symbols {
	if st.ASCII {
		return &asciiSymbols
	}
	return &unicodeSymbols
}

func (st Style) zone() *time.Location {
	if st.Zone == nil {
		return time.Local
	}
	return st.Zone
}

// Clock returns a time of day with microseconds: 14:03:07.104512.
func (st Style) Clock(ns int64) string {
	return time.Unix(0, ns).In(st.zone()).Format("15:04:05.000000")
}
