package jsonl

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"natlens/internal/view/jsonl/jsonltest"
	"natlens/internal/view/viewtest"
)

var fenced = regexp.MustCompile("(?s)```json\n(.*?)```")

func manual(t *testing.T) []byte {
	t.Helper()
	schema, err := jsonltest.SchemaPath()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(schema), "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExamplesInTheManual(t *testing.T) {
	kinds := map[any]bool{}
	var first map[string]any
	for _, m := range fenced.FindAllSubmatch(manual(t), -1) {
		object := jsonltest.ValidateObject(t, m[1])
		kinds[object["kind"]] = true
		if first == nil {
			first = object
		}
	}
	for _, k := range []string{"journey", "flow", "event", "summary", "list"} {
		if !kinds[k] {
			t.Errorf("no example of kind %s", k)
		}
	}
	b, err := Journey(viewtest.PingOut(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(jsonltest.Validate(t, b), first); d != "" {
		t.Errorf("the first example is not what is printed (-printed +manual):\n%s", d)
	}
}

func TestEveryFieldIsInTheManual(t *testing.T) {
	path, err := jsonltest.SchemaPath()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	prose := fenced.ReplaceAll(manual(t), nil)
	n := 0
	words(schema, func(word string) {
		n++
		if !bytes.Contains(prose, []byte("`"+word+"`")) {
			t.Errorf("docs/json.md does not name `%s`", word)
		}
	})
	if n < 100 {
		t.Errorf("only %d words found in the schema", n)
	}
}

// words calls f with the name of each field, and each word that a field may
// hold. TCP flags are in a pattern and stay out.
func words(schema any, f func(string)) {
	switch s := schema.(type) {
	case map[string]any:
		if properties, ok := s["properties"].(map[string]any); ok {
			for name := range properties {
				f(name)
			}
		}
		if values, ok := s["enum"].([]any); ok {
			for _, v := range values {
				if word, ok := v.(string); ok {
					f(strings.TrimSpace(word))
				}
			}
		}
		for _, v := range s {
			words(v, f)
		}
	case []any:
		for _, v := range s {
			words(v, f)
		}
	}
}
