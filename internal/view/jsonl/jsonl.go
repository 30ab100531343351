// Package jsonl writes what natlens knows as JSON Lines: one object a line,
// each with "schema" and "kind". The structures here are the contract with the
// world outside, described in docs/json.md and docs/natlens.schema.json: fields
// may be added, never renamed and never given another type.
//
// What is unknown is absent. Lists are always there, empty at least.
//
// Every function returns one line with its line break. The line holds no
// character that a terminal would act on.
package jsonl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"unicode"
	"unicode/utf8"

	"natlens/netinfo"
	"natlens/netinfo/netns"
)

// Schema is the number of the contract. It grows only if a field ever had to
// change its name, type or meaning.
const Schema = 1

// header begins every line.
type header struct {
	Schema int    `json:"schema"`
	Kind   string `json:"kind"`
}

func kind(k string) header { return header{Schema: Schema, Kind: k} }

// line marshals v as one line.
func line(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // rules are full of > and &
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return harmless(b.Bytes()), nil
}

// harmless writes what is not printable as \u escapes. encoding/json does so
// for the controls below U+0020 only, but terminals also act on U+009B and
// readers are fooled by text that runs backwards. In JSON such characters can
// stand in strings alone, where the escape means the same.
func harmless(b []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(b)-1; { // the last byte is the line break
		if b[i] >= ' ' && b[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if !unicode.IsPrint(r) {
			out = append(out, b[done:i]...)
			if r >= 0x10000 {
				out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
			} else {
				out = fmt.Appendf(out, `\u%04x`, r)
			}
			done = i + n
		}
		i += n
	}
	if done == 0 {
		return b
	}
	return append(out, b[done:]...)
}

// list makes an absent list an empty one.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// index is a place in a list; -1, no place, is null.
type index int

// MarshalJSON implements json.Marshaler.
func (i index) MarshalJSON() ([]byte, error) {
	if i < 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(i), 10), nil
}

// namespaceName returns the name of a namespace; empty when it has none, since
// its inode is told beside it.
func namespaceName(t *netinfo.Topology, id netns.ID) string {
	if n := t.Namespace(id); n != nil {
		return n.Name
	}
	return ""
}

func ipText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
