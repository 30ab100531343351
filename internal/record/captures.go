package record

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"natlens/capture/pcapng"
)

// A pcapng file can have several sections, as those have that cat(1) makes of several.
// The parts of one watch in one file, in their order, are played like files of their
// own; a part goes on in a further section where one has no room for more links. Other
// programs' sections are one capture. Where what does not belong together follows each
// other, the first of it is played.

// following returns the next part of the watch, where it follows in the same file; nil
// when the file has ended, or was read up to an error.
func (o *opened) following(err error) (*opened, error) {
	if err != nil || o.further == nil {
		return nil, err
	}
	next := &opened{
		File: o.File, reader: o.reader, unread: o.unread, start: -1, first: o.first + len(o.links), begins: o.further.Offset,
		told: versions{}, places: map[int]place{},
	}
	if err := next.look(); err != nil {
		return nil, fmt.Errorf("section at byte %d: %w", next.begins, err)
	}
	h := next.header
	switch {
	case h == nil && !slices.ContainsFunc(next.ahead, notInterface): // it ends before it tells anything
		b, err := next.read()
		switch {
		case b != nil:
			return nil, another(o.further)
		case errors.Is(err, io.EOF):
			err = nil
		}
		return nil, err
	case h == nil || h.Session != o.header.Session || h.Part <= o.header.Part:
		return nil, another(o.further)
	}
	return next, nil
}

// goesOn reports whether the part goes on in the section that was just reached: what
// natlens says behind its links tells.
func (o *opened) goesOn() bool {
	full := o.section == pcapng.MaxInterfaces
	o.section = 0
	var last pcapng.Block
	var seen []pcapng.Block
	for last == nil || !notInterface(last) {
		b, err := o.read()
		if err != nil {
			break // the reader says it again
		}
		last, seen = b, append(seen, b)
	}
	o.unread = append(seen, o.unread...)
	l, ok := last.(*pcapng.Local)
	switch {
	case !ok:
		return false
	case l.Kind != kindHeader:
		return full // of a natlens whose sections did not tell
	}
	h, err := decode[header](l)
	return err == nil && h.Further && h.Session == o.header.Session && h.Part == o.header.Part
}

func notInterface(b pcapng.Block) bool {
	_, ok := b.(*pcapng.Interface)
	return !ok
}

// repeats is the error that a file has what one before it has; nil when it has not.
func (o *opened) repeats(before *opened) error {
	if before == nil || o.header.Session != before.header.Session || o.header.Part > before.header.Part {
		return nil
	}
	return fmt.Errorf("what it has of the watch, %s has too: one is a copy", before.Name)
}

// another is the error that what does not belong to the capture before follows in its
// file.
func another(s *pcapng.Section) error {
	return fmt.Errorf("another capture begins at byte %d and is left out: split the file there (head -c %[1]d, tail -c +%d)", s.Offset, s.Offset+1)
}

// missingBetween says that parts of a watch are not there.
func missingBetween(a, b *opened) string {
	if a.reader == b.reader {
		return fmt.Sprintf("before byte %d of %s files are missing", b.begins, b.Name)
	}
	return fmt.Sprintf("between %s and %s files are missing", a.Name, b.Name)
}
