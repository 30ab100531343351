// Testreport reads what go test -json writes (go doc test2json).
//
// Without arguments it reads standard input while the tests run: a line for
// each package, and everything that a failed test printed. With files it adds
// several runs of the same tests up: a list of what was left out and why on
// standard error, and three numbers on standard output: passed, failed,
// skipped. It is part of scripts/test.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	if len(files) == 0 {
		return follow(os.Stdin, os.Stdout)
	}
	var total results
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = total.read(f, func(event) {})
		if err := f.Close(); err != nil {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	total.writeSkipped(os.Stderr)
	passed, failed, skipped := total.count()
	_, err := fmt.Println(passed, failed, skipped)
	return err
}

// follow prints a line for each package when it ends.
func follow(r io.Reader, w io.Writer) error {
	var all results
	return all.read(r, func(e event) {
		if e.Test != "" || e.Package == "" {
			return
		}
		switch e.Action {
		case "pass", "fail", "skip":
			all.writePackage(w, e)
		}
	})
}
