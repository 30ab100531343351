package arrows

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile(`\bTest[A-Z]\w*`)
	testFunc   = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(\w+ \*testing\.T\)`)
	caseOnPage = regexp.MustCompile(`^TestCase[A-Z]`)
	quotation  = regexp.MustCompile(`"([^"]+)"`)
)

// docs/cases.md names tests that there are, and all of the cases on the real
// engine. Its sentences are those of the program or of what a test expects of it.
func TestCasesAreTested(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "cases.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, source := map[string]bool{}, goSource(t)
	for _, m := range testFunc.FindAllStringSubmatch(source, -1) {
		tests[m[1]] = true
	}
	named := map[string]bool{}
	for _, name := range testName.FindAllString(string(page), -1) {
		if named[name] = true; !tests[name] {
			t.Errorf("docs/cases.md names %s, which is no test", name)
		}
	}
	for name := range tests {
		if caseOnPage.MatchString(name) && !named[name] {
			t.Errorf("docs/cases.md does not name %s", name)
		}
	}
	sentences := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, m := range quotation.FindAllStringSubmatch(line, -1) {
			sentences++
			for words := range strings.SplitSeq(m[1], "…") {
				if words = strings.TrimSpace(words); !strings.Contains(source, words) {
					t.Errorf("docs/cases.md says %q; neither the program nor a test does", words)
				}
			}
		}
	}
	if len(named) < 50 || sentences < 20 {
		t.Errorf("%d tests and %d sentences: is the page complete?", len(named), sentences)
	}
}

// goSource is all of the repository's Go, but this file.
func goSource(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	if err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || d.Name() == "cases_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all.String()
}
