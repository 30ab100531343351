package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action      string
	Package     string
	Test        string // empty: about the package
	Output      string
	Elapsed     float64 // seconds
	ImportPath  string  // of build-output and build-fail
	FailedBuild string  // what could not be built, on the package's fail
}

// test names one test, subtests included. An empty name is the package itself,
// when it failed without any of its tests failing (it did not build, or ended
// early).
type test struct{ pkg, name string }

// outcome of a test. In several runs the highest one counts: what was skipped
// here and passed there has run.
type outcome int

const (
	skipped outcome = iota + 1
	passed
	failed
)

// results are the outcomes of tests in one or several runs. The zero results
// are ready to use.
type results struct {
	tests  map[test]outcome
	why    map[test]string // of skipped ones
	output map[test][]string
	build  map[string][]string // what the compiler said, by import path
}

// read takes in a stream of events and calls each after it is taken in. Lines
// that are not JSON, as a process that dies prints them, belong to no test and
// are passed on as output of none.
func (r *results) read(stream io.Reader, each func(event)) error {
	if r.tests == nil {
		r.tests, r.why = map[test]outcome{}, map[test]string{}
	}
	r.output, r.build = map[test][]string{}, map[string][]string{}
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			e := event{Action: "output", Output: string(line) + "\n"}
			_ = json.Unmarshal(line, &e) // not JSON: output, as it stands
			r.add(e)
			each(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) add(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		r.build[e.ImportPath] = append(r.build[e.ImportPath], e.Output)
	case "pass":
		if e.Test != "" {
			r.settle(t, passed)
		}
	case "skip":
		if e.Test != "" {
			r.settle(t, skipped)
			if r.tests[t] == skipped {
				r.why[t] = reason(r.output[t])
			}
		}
	case "fail":
		if e.Test != "" || !r.failedIn(e.Package) {
			r.settle(t, failed)
		}
	}
}

func (r *results) settle(t test, o outcome) {
	r.tests[t] = max(r.tests[t], o)
}

func (r *results) failedIn(pkg string) bool {
	for t, o := range r.tests {
		if t.pkg == pkg && o == failed {
			return true
		}
	}
	return false
}

// location matches what testing puts before a message.
var location = regexp.MustCompile(`^\s+[\w.-]+\.go:\d+: `)

// reason returns what a test said when it skipped itself.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		if at := location.FindString(line); at != "" {
			return strings.TrimSpace(line[len(at):])
		}
	}
	return "no reason given"
}

// count returns how many tests had each outcome.
func (r *results) count() (pass, fail, skip int) {
	for _, o := range r.tests {
		switch o {
		case passed:
			pass++
		case failed:
			fail++
		case skipped:
			skip++
		}
	}
	return pass, fail, skip
}

// writePackage prints how a package ended and, when it failed, everything that
// its failed tests printed.
func (r *results) writePackage(w io.Writer, e event) {
	counts := map[outcome]int{}
	var bad []test
	for t, o := range r.tests {
		if t.pkg == e.Package {
			counts[o]++
			if o == failed {
				bad = append(bad, t)
			}
		}
	}
	if len(counts) == 0 {
		return // no tests
	}
	fmt.Fprintf(w, "  %-4s %6.1f s  %-36s %d passed", e.Action, e.Elapsed, e.Package, counts[passed])
	if counts[skipped] > 0 {
		fmt.Fprintf(w, ", %d skipped", counts[skipped])
	}
	if counts[failed] > 0 {
		fmt.Fprintf(w, ", %d failed", counts[failed])
	}
	fmt.Fprintln(w)
	slices.SortFunc(bad, compare)
	for _, t := range bad {
		for _, line := range r.output[t] {
			fmt.Fprint(w, "    ", line)
		}
	}
	for _, line := range r.build[e.FailedBuild] {
		fmt.Fprint(w, "    ", line)
	}
	// What the process itself said: a panic, the race detector, a timeout.
	if len(bad) > 0 {
		for _, line := range r.output[test{pkg: e.Package}] {
			if bad[0].name != "" {
				fmt.Fprint(w, "    ", line)
			}
		}
	}
}

// writeSkipped lists the skipped tests by reason.
func (r *results) writeSkipped(w io.Writer) {
	reasons := map[string][]test{}
	for t, o := range r.tests {
		if o == skipped {
			reasons[r.why[t]] = append(reasons[r.why[t]], t)
		}
	}
	var sorted []string
	for why := range reasons {
		sorted = append(sorted, why)
	}
	slices.Sort(sorted)
	for _, why := range sorted {
		tests := reasons[why]
		slices.SortFunc(tests, compare)
		fmt.Fprintf(w, "%s:\n", why)
		for _, t := range tests {
			fmt.Fprintf(w, "    %s %s\n", t.pkg, t.name)
		}
	}
}

func compare(a, b test) int {
	if c := strings.Compare(a.pkg, b.pkg); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}
