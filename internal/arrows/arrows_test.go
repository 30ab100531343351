package arrows

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "natlens"
	root   = "../.."
)

// may says which of our packages a package imports at most; "x/..." stands for x
// and all below it. The longest name that fits a package decides. A package that
// is not here may import none, and the test says so: new packages get their line.
var may = map[string][]string{
	"capture/packet": {},
	"capture/pcapng": {"capture/packet"},
	"capture":        {"capture/packet", "netinfo/netns"},

	"netinfo/cost":      {},
	"netinfo/netns":     {},
	"netinfo/docker":    {},
	"netinfo/netfilter": {"capture/packet", "netinfo/cost", "netinfo/netns"},
	"netinfo/podman":    {"netinfo/docker"},
	"netinfo":           {"capture/packet", "netinfo/..."},

	"trace/...": {"capture/...", "netinfo/...", "trace/..."},

	"internal/doctor":  {"capture", "netinfo/..."},
	"internal/flows":   {"capture/packet", "netinfo/...", "trace"},
	"internal/explain": {"capture/packet", "netinfo/..."},
	"internal/live":    {"capture/...", "netinfo/...", "trace/...", "internal/record"},
	"internal/probe":   {"capture", "capture/packet", "netinfo/...", "trace", "internal/explain", "internal/live"},
	"internal/record":  {"capture/...", "netinfo/...", "trace"},

	// Views show what they are given: they never go and look.
	"internal/view/...": {"capture", "capture/packet", "netinfo", "netinfo/docker", "netinfo/netfilter", "netinfo/netns",
		"trace", "internal/doctor", "internal/explain", "internal/flows", "internal/probe", "internal/view/..."},

	"internal/lab/...": {"netinfo/netns", "internal/lab/..."},

	"internal/arrows": {},
	"internal/e2e":    {},
	"internal/leak":   {},
	"internal/deps":   {},

	"scripts/fuzzkeep":   {},
	"scripts/testreport": {},

	"cmd/natlens": {"capture/...", "netinfo/...", "trace/...", "internal/doctor", "internal/explain", "internal/flows", "internal/live", "internal/probe",
		"internal/record", "internal/view/...", "internal/lab"},
}

// forTests reports whether a package exists for tests alone; it may import
// whatever it likes, and only tests may import it.
func forTests(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || pkg == "internal/leak"
}

func TestArrows(t *testing.T) {
	used := map[string]bool{}
	for pkg, imports := range productImports(t) {
		if forTests(pkg) {
			continue
		}
		rule, ok := ruleFor(pkg)
		if !ok {
			t.Errorf("%s has no line in the table of arrows", pkg)
			continue
		}
		used[rule] = true
		for _, imported := range imports {
			switch {
			case forTests(imported):
				t.Errorf("%s imports %s, which is for tests", pkg, imported)
			case !slices.ContainsFunc(may[rule], func(pattern string) bool { return fits(pattern, imported) }):
				t.Errorf("%s imports %s; it may import %s", pkg, imported, strings.Join(may[rule], ", "))
			}
		}
	}
	for _, must := range []string{"capture/packet", "trace/...", "cmd/natlens", "internal/view/..."} {
		if !used[must] {
			t.Errorf("no package was held to the rule of %s: is the list of packages complete?", must)
		}
	}
}

// productImports returns our packages and which of ours each imports, tests left
// aside, without the module's name.
func productImports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	packages := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module+"/")
		packages[pkg] = nil
		for _, imported := range words[1:] {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				packages[pkg] = append(packages[pkg], ours)
			}
		}
	}
	return packages
}

// ruleFor returns the longest entry of may that fits the package.
func ruleFor(pkg string) (rule string, ok bool) {
	for pattern := range may {
		if fits(pattern, pkg) && (!ok || len(pattern) > len(rule)) {
			rule, ok = pattern, true
		}
	}
	return rule, ok
}

func fits(pattern, pkg string) bool {
	if prefix, all := strings.CutSuffix(pattern, "/..."); all {
		return pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
	}
	return pkg == pattern
}

// TestFits is here because TestArrows allows what fits wrongly allows.
func TestFits(t *testing.T) {
	for _, test := range []struct {
		pattern, pkg string
		want         bool
	}{
		{"trace", "trace", true},
		{"trace", "trace/filter", false},
		{"trace/...", "trace", true},
		{"trace/...", "trace/filter", true},
		{"trace/...", "tracer", false},
	} {
		if got := fits(test.pattern, test.pkg); got != test.want {
			t.Errorf("%s fits %s: %v, want %v", test.pattern, test.pkg, got, test.want)
		}
	}
}

// TestSystemCallsStandInLinuxFiles reads every Go file, those included that this
// platform does not build.
func TestSystemCallsStandInLinuxFiles(t *testing.T) {
	fenced := []string{"unsafe", "golang.org/x/sys/unix", "github.com/vishvananda/netns"}
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		base := path.Base(relative)
		if d.IsDir() {
			if base == "testdata" || relative == "internal/deps" || base != "." && strings.HasPrefix(base, ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		files++
		if strings.HasSuffix(base, "_linux.go") || strings.HasSuffix(base, "_linux_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if imported, err := strconv.Unquote(spec.Path.Value); err == nil && slices.Contains(fenced, imported) {
				t.Errorf("%s imports %s, which belongs into a *_linux.go file", relative, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d Go files found: this looks at the wrong folder", files)
	}
}
