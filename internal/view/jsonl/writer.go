package jsonl

import (
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// writer appends JSON members one after the other, as encoding/json and harmless
// would write them. It is for journeys, of which there can be thousands a second.
type writer struct{ b []byte }

// key begins a member, or an element when k is empty.
func (w *writer) key(k string) {
	if n := len(w.b); n > 0 && w.b[n-1] != '{' && w.b[n-1] != '[' {
		w.b = append(w.b, ',')
	}
	if k != "" {
		w.b = append(append(append(w.b, '"'), k...), '"', ':')
	}
}

func (w *writer) open(k string, bracket byte) {
	w.key(k)
	w.b = append(w.b, bracket)
}

func (w *writer) close(bracket byte) { w.b = append(w.b, bracket) }

func (w *writer) number(k string, n uint64) {
	w.key(k)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *writer) integer(k string, n int64) {
	w.key(k)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *writer) flag(k string, v bool) {
	w.key(k)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *writer) text(k, s string) {
	w.key(k)
	w.b = appendString(w.b, s)
}

// someNumber writes a number unless it is 0, which says that it is unknown.
func (w *writer) someNumber(k string, n uint64) {
	if n != 0 {
		w.number(k, n)
	}
}

// someText writes a text unless it is empty.
func (w *writer) someText(k, s string) {
	if s != "" {
		w.text(k, s)
	}
}

func (w *writer) texts(k string, list []string) {
	w.open(k, '[')
	for _, s := range list {
		w.text("", s)
	}
	w.close(']')
}

// place writes an index.
func (w *writer) place(k string, i index) {
	if i >= 0 {
		w.integer(k, int64(i))
		return
	}
	w.key(k)
	w.b = append(w.b, "null"...)
}

// appendString writes s in quotes. What is not printable becomes an escape, and
// what is no UTF-8 the replacement character.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := rune(c), 1
		if c >= utf8.RuneSelf {
			if r, n = utf8.DecodeRuneInString(s[i:]); unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) {
				i += n
				continue
			}
		}
		b = append(b, s[done:i]...)
		i += n
		done = i
		switch short := shortEscapes[min(r, utf8.RuneSelf-1)]; {
		case short != 0 && r < utf8.RuneSelf:
			b = append(b, '\\', short)
		case r < 0x10000:
			b = append(b, '\\', 'u', hex[r>>12], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
		default: // two halves (RFC 8259, section 7)
			for _, half := range [2]rune{0xd800 + (r-0x10000)>>10, 0xdc00 + (r-0x10000)&0x3ff} {
				b = append(b, '\\', 'u', hex[half>>12], hex[half>>8&0xf], hex[half>>4&0xf], hex[half&0xf])
			}
		}
	}
	return append(append(b, s[done:]...), '"')
}

// shortEscapes are those that a letter says.
var shortEscapes = [utf8.RuneSelf]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// address writes an IP address.
func (w *writer) address(k string, a netip.Addr) {
	w.key(k)
	if a.Zone() != "" {
		w.b = appendString(w.b, a.String()) // a zone may hold anything
		return
	}
	w.b = append(a.AppendTo(append(w.b, '"')), '"')
}

func (w *writer) mac(k string, m mac) {
	w.key(k)
	w.b = append(m.append(append(w.b, '"')), '"')
}

// time writes an instant.
func (w *writer) time(k string, t instant) {
	w.key(k)
	w.b = append(t.append(append(w.b, '"')), '"')
}

// instant is a time in nanoseconds since the Unix epoch.
type instant int64

// MarshalText implements encoding.TextMarshaler.
func (t instant) MarshalText() ([]byte, error) { return t.append(nil), nil }

func (t instant) append(b []byte) []byte {
	return time.Unix(0, int64(t)).UTC().AppendFormat(b, stampLayout)
}

// stampLayout always has nine digits, so that the texts sort as the times do.
const stampLayout = "2006-01-02T15:04:05.000000000Z"

// stamp writes nanoseconds since the Unix epoch as RFC 3339 in UTC.
func stamp(ns int64) string { return string(instant(ns).append(nil)) }
