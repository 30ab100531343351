package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a watch writes no other one overwrites; what none writes is free.
func TestOneWatchWritesAFile(t *testing.T) {
	dir := t.TempDir()
	for name, flags := range map[string]writeFlags{"one": {}, "numbered": {bytes: 1}, "the last": {interval: 1, keep: 1}} {
		t.Run(name, func(t *testing.T) {
			flags.path = filepath.Join(dir, name+".pcapng")
			begin := func(part int) (func(int) (io.WriteCloser, error), io.WriteCloser) {
				t.Helper()
				open := (&app{}).captures(&flags)
				var file io.WriteCloser
				for n := 0; n <= part; n++ {
					if file != nil {
						file.Close()
					}
					var err error
					if file, err = open(n); err != nil {
						t.Fatal(err)
					}
				}
				return open, file
			}
			last := 0
			if name != "one" {
				last = 3
			}
			_, file := begin(last)
			if _, err := file.Write([]byte("kept")); err != nil {
				t.Fatal(err)
			}
			if _, err := (&app{}).captures(&flags)(0); err == nil || !strings.Contains(err.Error(), "another natlens watch writes it") {
				t.Errorf("a second watch begins: %v", err)
			}
			if b, err := os.ReadFile(file.(*os.File).Name()); string(b) != "kept" {
				t.Errorf("the first one's file has %q, %v", b, err)
			}
		})
	}
	path := filepath.Join(dir, "free.pcapng")
	for range 2 {
		file, err := createCapture(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := file.Stat(); err != nil || info.Size() != 0 {
			t.Errorf("an old file has %d bytes left, %v", info.Size(), err)
		}
		if _, err := file.WriteString("old"); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
	for range 2 { // a device is nobody's alone
		file, err := createCapture(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
	}
}

// The number stands before the ending, and behind the name of what has none.
func TestNumberedNames(t *testing.T) {
	for path, want := range map[string]string{
		"back.pcapng": "back_00001.pcapng", "back": "back_00001",
		".back": ".back_00001", ".back.pcapng": ".back_00001.pcapng", "a.b/back": "a.b/back_00001",
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		file, err := (&app{}).captures(&writeFlags{path: filepath.Join(dir, path), bytes: 1})(0)
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if got := file.(*os.File).Name(); got != filepath.Join(dir, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
}
