// Package jsonltest holds lines of JSON against docs/natlens.schema.json, for
// the tests of whatever prints them.
package jsonltest

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Validate fails the test unless line is one line that the schema allows. It
// returns the line's object.
func Validate(t testing.TB, line []byte) map[string]any {
	t.Helper()
	line = bytes.TrimSuffix(line, []byte("\n"))
	if bytes.ContainsAny(line, "\n\r") {
		t.Errorf("more than one line: %q", line)
	}
	return ValidateObject(t, line)
}

// ValidateObject is Validate for an object on any number of lines.
func ValidateObject(t testing.TB, text []byte) map[string]any {
	t.Helper()
	object, err := Check(text)
	if err != nil {
		t.Errorf("%s\n%v", text, err)
	}
	return object
}

// Check returns the object that text holds, and what the schema has against it.
func Check(text []byte) (map[string]any, error) {
	schema, err := compiled()
	if err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	object, _ := value.(map[string]any)
	return object, schema.Validate(value)
}

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	path, err := SchemaPath()
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	return c.Compile(path)
})

// SchemaPath finds docs/natlens.schema.json from the directory of any test of
// this module.
func SchemaPath() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "docs", "natlens.schema.json"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", os.ErrNotExist
		}
		dir = parent
	}
}
