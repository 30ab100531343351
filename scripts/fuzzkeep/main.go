// Command fuzzkeep keeps what fuzzing found: of the inputs that go test -fuzz left in
// its cache, those by which a target reaches statements that it reaches by none of its
// seeds. They go to testdata/fuzz beside the test, from where every go test tries them.
//
//	go run ./scripts/fuzzkeep PACKAGE TARGET [FOLDER]
//
// PACKAGE is a folder, FOLDER where the inputs are; by default that of Go's cache. What
// is kept already stays.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	most    = 20       // inputs of a target that are kept
	largest = 4 << 10  // bytes of one
	whole   = 10 << 10 // of all
)

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "fuzzkeep: want PACKAGE TARGET [FOLDER]")
		os.Exit(2)
	}
	from := ""
	if len(os.Args) == 4 {
		from = os.Args[3]
	}
	n, err := keep(os.Args[1], os.Args[2], from)
	if err != nil {
		fmt.Fprintf(os.Stderr, "fuzzkeep: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d more kept\n", os.Args[2], n)
}

// keep returns how many inputs were added to the target's.
func keep(pkg, target, from string) (added int, err error) {
	if from == "" {
		if from, err = cached(pkg, target); err != nil {
			return 0, err
		}
	}
	kept := filepath.Join(pkg, "testdata", "fuzz", target)
	there, err := inputs(kept)
	if err != nil {
		return 0, err
	}
	found, err := inputs(from)
	if err != nil {
		return 0, err
	}
	room := whole
	for _, i := range there {
		room -= len(i.text)
	}
	s, err := newStage(pkg, target)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.folder)) }()
	base, err := s.reached(there...)
	if err != nil {
		return 0, err
	}
	for i := range found {
		if len(found[i].text) > largest || slices.ContainsFunc(there, func(o input) bool { return o.name == found[i].name }) {
			continue
		}
		if found[i].reaches, err = s.reached(found[i]); err != nil {
			return 0, err
		}
	}
	for _, i := range choose(base, found, most-len(there), room) {
		if err := os.MkdirAll(kept, 0o755); err != nil {
			return added, err
		}
		if err := os.WriteFile(filepath.Join(kept, i.name), i.text, 0o644); err != nil {
			return added, err
		}
		added++
	}
	return added, nil
}

// input is one, as Go writes it into a file.
type input struct {
	name    string
	text    []byte
	reaches map[string]bool // statements, by their place; nil when it is not asked
}

// choose takes so many inputs, of so many bytes together, that reach what base does not:
// always the one that adds most.
func choose(base map[string]bool, found []input, most, room int) (chosen []input) {
	base = maps.Clone(base)
	for len(chosen) < most {
		best, gain := -1, 0
		for k := range found {
			n := 0
			for at := range found[k].reaches {
				if !base[at] {
					n++
				}
			}
			if len(found[k].text) <= room && (n > gain || n == gain && n > 0 && len(found[k].text) < len(found[best].text)) {
				best, gain = k, n
			}
		}
		if best < 0 {
			break
		}
		maps.Copy(base, found[best].reaches)
		chosen = append(chosen, found[best])
		room -= len(found[best].text)
	}
	return chosen
}

// cached is where go test -fuzz keeps a target's inputs.
func cached(pkg, target string) (string, error) {
	out, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	list := exec.Command("go", "list")
	list.Dir = pkg
	path, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "fuzz", strings.TrimSpace(string(path)), target), nil
}

// inputs are those in a folder, in the order of their names; none where there is no
// folder.
func inputs(folder string) (all []input, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, input{name: e.Name(), text: text})
	}
	slices.SortFunc(all, func(a, b input) int { return cmp.Compare(a.name, b.name) })
	return all, nil
}
