package engine

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Image makes an image out of "box" and of programs of this machine: each with the
// libraries that it asks for, at the same paths, and of whole folders. content are
// more files by their path. The image stays as long as the engine.
func (e *Engine) Image(name string, programs, folders []string, content map[string]string) {
	e.tb.Helper()
	dir := e.tb.TempDir()
	paths := slices.Clone(folders)
	for _, program := range programs {
		libraries, err := exec.Command("ldd", program).Output()
		if err != nil {
			e.tb.Fatalf("libraries of %s: %v", program, err)
		}
		paths = append(paths, program)
		for _, word := range strings.Fields(string(libraries)) {
			if filepath.IsAbs(word) {
				paths = append(paths, word)
			}
		}
	}
	slices.Sort(paths)
	files := filepath.Join(dir, "files.tar")
	// Links are followed: a library is found by the name of its link.
	tar := exec.Command("tar", append([]string{"-chf", files, "-C", "/", "--"}, relative(slices.Compact(paths))...)...)
	if out, err := tar.CombinedOutput(); err != nil {
		e.tb.Fatalf("image %s: %v: %s", name, err, out)
	}
	for path, text := range content {
		at := filepath.Join(dir, "content", path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			e.tb.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
			e.tb.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM box\nADD files.tar /\nCOPY content /\n"), 0o600); err != nil {
		e.tb.Fatal(err)
	}
	context, err := exec.Command("tar", "-c", "-C", dir, ".").Output()
	if err != nil {
		e.tb.Fatalf("image %s: %v", name, err)
	}
	if _, err := e.docker(bytes.NewReader(context), "build", "-q", "-t", name, "-"); err != nil {
		e.tb.Fatal(fmt.Errorf("image %s: %w", name, err))
	}
}

// relative takes the slash that begins each path away.
func relative(paths []string) []string {
	for i := range paths {
		paths[i] = strings.TrimPrefix(paths[i], "/")
	}
	return paths
}
