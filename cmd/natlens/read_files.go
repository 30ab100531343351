package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"natlens/internal/record"
)

// splitFiles tells files from the filter: what stands before a --, else the first
// word and those after it that name files, or look as if they did.
func splitFiles(args []string, dash int) (paths []string, expression string) {
	n := 1
	for n < len(args) && (isFile(args[n]) || looksLikeFile(args[n])) {
		n++
	}
	if dash > 0 {
		n = dash
	}
	return args[:n], strings.Join(args[n:], " ")
}

func isFile(word string) bool {
	info, err := os.Stat(word)
	return word == "-" || err == nil && !info.IsDir()
}

// captureEndings are what names of capture files end with.
var captureEndings = []string{".pcap", ".pcapng", ".cap", ".dmp", ".gz", ".xz", ".zst", ".bz2"}

// looksLikeFile reports whether a word is no word of a filter, whether or not there is
// a file of that name. A whole filter may be one word for the shell.
func looksLikeFile(word string) bool {
	if slices.Contains(captureEndings, strings.ToLower(filepath.Ext(word))) {
		return true
	}
	if _, err := netip.ParsePrefix(word); err == nil {
		return false
	}
	begin, _, hasSlash := strings.Cut(filepath.ToSlash(word), "/")
	return hasSlash && !strings.ContainsAny(begin, " ([!")
}

// openFiles opens what paths name; - is standard input. A file that is named twice is
// opened once, which is said.
func (a *app) openFiles(paths []string) (files []record.File, closeAll func(), err error) {
	var opened []io.Closer
	var infos []os.FileInfo // of files
	closeAll = func() {
		for _, f := range opened {
			_ = f.Close() // it was only read
		}
	}
	for i, path := range paths {
		in := a.stdin
		if path == "-" {
			if slices.Contains(paths[:i], "-") {
				closeAll()
				return nil, nil, usagef("standard input can be read once only")
			}
		} else {
			if in, err = os.Open(path); err != nil {
				closeAll()
				return nil, nil, fmt.Errorf("read: %w", err)
			}
			opened = append(opened, in)
		}
		info, err := in.Stat()
		if err != nil || info.IsDir() {
			closeAll()
			return nil, nil, fmt.Errorf("read %s: %w", nameOf(path), cmp.Or(err, errDirectory))
		}
		if same := slices.IndexFunc(infos, func(o os.FileInfo) bool { return os.SameFile(o, info) }); same >= 0 {
			fmt.Fprintln(a.stderr, a.style().Escape(fmt.Sprintf("%s is %s again, and is read once", nameOf(path), files[same].Name)))
			continue
		}
		infos = append(infos, info)
		files = append(files, record.File{Name: nameOf(path), In: in})
	}
	return files, closeAll, nil
}

var errDirectory = errors.New("it is a directory")

// nameOf is how people are told of a file.
func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}
