package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// stage is a copy of a package's folder in which a target runs with inputs that are not
// among the package's own.
type stage struct {
	folder string
	target string
}

func newStage(pkg, target string) (s *stage, err error) {
	s = &stage{target: target}
	if s.folder, err = os.MkdirTemp("", "fuzzkeep"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(s.folder))
		}
	}()
	path := "./" + filepath.ToSlash(filepath.Clean(pkg))
	// All of this module that the test stands on, without what is made for tests alone.
	deps := exec.Command("go", "list", "-deps", "-test", "-f", `{{if and .Module (not .ForTest)}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}`, path)
	list, err := deps.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	ours := slices.DeleteFunc(strings.Fields(string(list)), func(p string) bool { return strings.HasSuffix(p, ".test") })
	build := exec.Command("go", "test", "-c", "-covermode=set", "-coverpkg="+strings.Join(ours, ","), "-o", s.program(), path)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test -c: %w: %s", err, out)
	}
	if err := os.MkdirAll(s.inputs(), 0o755); err != nil {
		return nil, err
	}
	// Seeds are read from testdata, too.
	if err := link(pkg, s.work(), "testdata"); err != nil {
		return nil, err
	}
	return s, link(filepath.Join(pkg, "testdata"), filepath.Join(s.work(), "testdata"), "fuzz")
}

func (s *stage) program() string { return filepath.Join(s.folder, "test") }
func (s *stage) work() string    { return filepath.Join(s.folder, "work") }
func (s *stage) inputs() string  { return filepath.Join(s.work(), "testdata", "fuzz", s.target) }

// link shows all that is in a folder but one thing in another.
func link(from, to, but string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if e.Name() == but {
			continue
		}
		if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// reached is which statements the target reaches by its seeds and these inputs.
func (s *stage) reached(by ...input) (map[string]bool, error) {
	if err := errors.Join(os.RemoveAll(s.inputs()), os.Mkdir(s.inputs(), 0o755)); err != nil {
		return nil, err
	}
	for _, i := range by {
		if err := os.WriteFile(filepath.Join(s.inputs(), i.name), i.text, 0o600); err != nil {
			return nil, err
		}
	}
	profile := filepath.Join(s.folder, "profile")
	run := exec.Command(s.program(), "-test.run", "^"+s.target+"$", "-test.coverprofile", profile)
	run.Dir = s.work()
	if out, err := run.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	text, err := os.ReadFile(profile)
	if err != nil {
		return nil, err
	}
	return reachedIn(string(text)), nil
}

// reachedIn reads a profile: lines such as "file.go:1.2,3.4 5 1", the last number being
// how often.
func reachedIn(profile string) map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(profile) {
		words := strings.Fields(line)
		if len(words) == 3 && words[2] != "0" {
			all[words[0]] = true
		}
	}
	return all
}
