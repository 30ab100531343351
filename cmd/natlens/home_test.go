package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"natlens/internal/view/text"
)

func TestHomeNamesOnlyWhatExists(t *testing.T) {
	root := &cobra.Command{Use: "natlens", Long: "What it is."}
	root.AddCommand(&cobra.Command{Use: "list", Short: "Shows what is here"})
	var b strings.Builder
	writeHome(&b, text.Style{}, root, []string{"Here: eth0."})
	want := `What it is.

Here: eth0.

Try:
  natlens list              shows what is here

All commands: natlens help
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &b, want)
	}
}
