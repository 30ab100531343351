package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lessonsFolder holds the pages in English; ru/ in it the same in Russian.
var lessonsFolder = filepath.Join("..", "..", "docs", "lessons")

// lessonOutput is a block of a page that shows a step of a demo.
var lessonOutput = regexp.MustCompile("(?s)(<!-- natlens demo (\\S+) (\\d+) -->\n```text\n)(.*?)(```\n)")

// lessonPages returns the pages of a folder, in their order.
func lessonPages(t *testing.T, folder string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	return names
}

func readPage(t *testing.T, path string) string {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestLessonsShowWhatIsRecorded compares every output in the lessons with the demo's.
// With -update it writes them.
func TestLessonsShowWhatIsRecorded(t *testing.T) {
	for _, folder := range []string{lessonsFolder, filepath.Join(lessonsFolder, "ru")} {
		for _, name := range lessonPages(t, folder) {
			path := filepath.Join(folder, name)
			page := readPage(t, path)
			fresh := lessonOutput.ReplaceAllStringFunc(page, func(block string) string {
				m := lessonOutput.FindStringSubmatch(block)
				steps := demoSteps(readPage(t, goldenDemo(m[2])))
				n, err := strconv.Atoi(m[3])
				if err != nil || n < 1 || n > len(steps) {
					t.Errorf("%s: demo %s has %d steps, no step %s", path, m[2], len(steps), m[3])
					return block
				}
				return m[1] + steps[n-1] + "\n" + m[5]
			})
			switch {
			case fresh == page:
			case *update:
				if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s (-there +recorded; scripts/lessons writes it anew):\n%s", path, cmp.Diff(page, fresh))
			}
		}
	}
}

// TestLessonsCoverTheScenarios wants a page for each recorded demo, which shows
// that demo, and a line of both READMEs for each page.
func TestLessonsCoverTheScenarios(t *testing.T) {
	recorded, err := filepath.Glob(goldenDemo("*"))
	if err != nil {
		t.Fatal(err)
	}
	var scenarios []string
	for _, r := range recorded {
		scenarios = append(scenarios, strings.TrimSuffix(filepath.Base(r), ".txt"))
	}
	slices.Sort(scenarios)
	pageName := regexp.MustCompile(`^\d\d-(.+)\.md$`)
	for _, folder := range []string{lessonsFolder, filepath.Join(lessonsFolder, "ru")} {
		contents := readPage(t, filepath.Join(folder, "README.md"))
		var taught []string
		for _, name := range lessonPages(t, folder) {
			m := pageName.FindStringSubmatch(name)
			if m == nil {
				continue
			}
			taught = append(taught, m[1])
			page := readPage(t, filepath.Join(folder, name))
			if !strings.Contains(page, "natlens demo "+m[1]+"\n") {
				t.Errorf("%s/%s does not say how to play it", folder, name)
			}
			blocks := lessonOutput.FindAllStringSubmatch(page, -1)
			if len(blocks) == 0 || slices.ContainsFunc(blocks, func(b []string) bool { return b[2] != m[1] }) {
				t.Errorf("%s/%s shows %d outputs, not all of demo %s", folder, name, len(blocks), m[1])
			}
			if strings.Count(page, "\n## ") != 4 || strings.Count(page, "<details>") != 1 {
				t.Errorf("%s/%s is not made of four parts with one question", folder, name)
			}
			if !strings.Contains(contents, "("+name+")") {
				t.Errorf("README.md of %s has no link to %s", folder, name)
			}
		}
		slices.Sort(taught)
		if d := cmp.Diff(scenarios, taught); d != "" {
			t.Errorf("%s (-recorded +taught):\n%s", folder, d)
		}
	}
}

var (
	lessonCode    = regexp.MustCompile("(?sm)^```.*?^```$")
	lessonHeading = regexp.MustCompile(`(?m)^#+ `)
	lessonLink    = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// TestLessonsAreTheSameInBothLanguages compares their pages, headings, blocks of
// commands and outputs, and where their links lead.
func TestLessonsAreTheSameInBothLanguages(t *testing.T) {
	english, russian := lessonPages(t, lessonsFolder), lessonPages(t, filepath.Join(lessonsFolder, "ru"))
	if d := cmp.Diff(english, russian); d != "" {
		t.Fatalf("pages (-English +Russian):\n%s", d)
	}
	for _, name := range english {
		en, ru := readPage(t, filepath.Join(lessonsFolder, name)), readPage(t, filepath.Join(lessonsFolder, "ru", name))
		if d := cmp.Diff(lessonCode.FindAllString(en, -1), lessonCode.FindAllString(ru, -1)); d != "" {
			t.Errorf("%s: blocks (-English +Russian):\n%s", name, d)
		}
		prose := func(page string) string { return lessonCode.ReplaceAllString(page, "") }
		if d := cmp.Diff(lessonHeading.FindAllString(prose(en), -1), lessonHeading.FindAllString(prose(ru), -1)); d != "" {
			t.Errorf("%s: headings (-English +Russian):\n%s", name, d)
		}
		if !regexp.MustCompile(`\p{Cyrillic}`).MatchString(ru) || regexp.MustCompile(`\p{Cyrillic}`).MatchString(prose(strings.ReplaceAll(en, "По-русски", ""))) {
			t.Errorf("%s is in the wrong language", name)
		}
	}
}

func TestLinksOfLessonsLeadSomewhere(t *testing.T) {
	for _, folder := range []string{lessonsFolder, filepath.Join(lessonsFolder, "ru")} {
		for _, name := range lessonPages(t, folder) {
			for _, m := range lessonLink.FindAllStringSubmatch(readPage(t, filepath.Join(folder, name)), -1) {
				if _, err := os.Stat(filepath.Join(folder, m[1])); err != nil {
					t.Errorf("%s/%s: %v", folder, name, err)
				}
			}
		}
	}
}
