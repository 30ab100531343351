package main

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestShellQuote asks a real shell to read back what was quoted.
func TestShellQuote(t *testing.T) {
	for _, word := range []string{
		"", "watch", "--color=never", "src host 1.2.3.4", "it's", `a"b\c`, "$HOME `id` $(id)", "a;b|c&d>e", "*?[x]", "~", "#x", "!x", "a\nb", "ü",
	} {
		out, err := exec.Command("sh", "-c", "printf %s "+shellQuote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q quoted as %s reads back as %q (%v)", word, shellQuote(word), out, err)
		}
	}
}

func TestNotPermittedNamesWhatWorks(t *testing.T) {
	root := &cobra.Command{Use: "natlens"}
	watch := &cobra.Command{Use: "watch"}
	root.AddCommand(watch, &cobra.Command{Use: "demo"}, &cobra.Command{Use: "list"})
	a := &app{args: []string{"watch", "host back"}}
	var denied *notPermitted
	if err := a.notPermitted(watch, errors.New("watch needs CAP_NET_RAW")); !errors.As(err, &denied) {
		t.Fatalf("%T, want *notPermitted", err)
	}
	advice := strings.Join(denied.advice, "\n")
	if !strings.Contains(advice, "These work without: natlens demo.") {
		t.Errorf("advice names other commands than those that exist and need nothing:\n%s", advice)
	}
	if line := a.sudoCommand(); !strings.HasSuffix(line, " watch 'host back'") || !strings.Contains(line, "sudo ") {
		t.Errorf("command to run instead: %s", line)
	}
}

func TestEnumerate(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}} {
		if got := enumerate(words); got != want {
			t.Errorf("enumerate(%q) = %q, want %q", words, got, want)
		}
	}
}
