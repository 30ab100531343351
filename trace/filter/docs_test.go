package filter

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

var inTicks = regexp.MustCompile("`([^`]+)`")

// Every expression in docs/filters.md's tables is one; what it says is refused,
// is.
func TestDocumentedExpressions(t *testing.T) {
	doc, err := os.ReadFile("../../docs/filters.md")
	if err != nil {
		t.Fatal(err)
	}
	section, parsed, refusals := "", 0, 0
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "## ") {
			section = strings.TrimSpace(line[3:])
		}
		cells := strings.Split(line, " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 2 {
			continue
		}
		for _, m := range inTicks.FindAllStringSubmatch(cells[0], -1) {
			expr, refuse := m[1], section == "What is refused"
			if refuse && expr == "vlan" {
				expr = "vlan 1 and vlan 2"
			}
			_, err := Parse(expr, nil)
			var syntax *SyntaxError
			switch {
			case refuse && !errors.As(err, &syntax):
				t.Errorf("%q is not refused: %v", expr, err)
			case refuse:
				refusals++
			case err != nil:
				t.Errorf("%s: %q: %v", section, expr, err)
			default:
				parsed++
			}
		}
	}
	if parsed < 60 || refusals < 15 {
		t.Errorf("%d expressions and %d refusals found: is the page read rightly?", parsed, refusals)
	}
}
