package pcapng

import (
	"strings"
	"unicode/utf8"
)

// atMost cuts a text to so many bytes, between characters.
func atMost(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// untilZero cuts a text at its first zero byte.
func untilZero(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// readText reads an option's text. Some programs end it with a zero byte, which
// the draft forbids.
func readText(b []byte) string {
	return strings.ToValidUTF8(untilZero(string(b)), "\uFFFD")
}
