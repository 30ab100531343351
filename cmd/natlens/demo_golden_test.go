package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what demos print to testdata and to the lessons")

// goldenDemo is a file with what natlens demo NAME printed once. It is real
// output; what differs each time is set aside by comparable.
func goldenDemo(name string) string { return filepath.Join("testdata", "demo", name+".txt") }

// volatile is what differs each time, in the order in which to replace it.
var volatile = []struct {
	pattern *regexp.Regexp
	instead string
}{
	// What changes is told in as many pieces as it was noticed in.
	{regexp.MustCompile(`(?m)^link .* changed:.*\n( {4}.*\n)*`), ""},
	{regexp.MustCompile(`(?m)(^link .* came: \w+).*\n( {4}.*\n)*`), "$1\n"},
	{regexp.MustCompile(`\b(conntrack|ct) \d+`), "conntrack N"},
	{regexp.MustCompile(`net:\[\d+\]`), "net:[N]"},
	{regexp.MustCompile(`\+[\d.]+ (ns|µs|ms)|same stamp`), "+T"},
	{regexp.MustCompile(`(?m)  [\d.]+ (ns|µs|ms)$`), ""},
	{regexp.MustCompile(`\b(after|in) [\d.]+ (ns|µs|ms)\b`), "$1 T"},
	// Counters are read so seldom that other packets may have moved one, too.
	{regexp.MustCompile(`, (evaluated|eval|counter)\]`), ", evidence]"},
	{regexp.MustCompile(`\[(evaluated|counter)\]`), "[evidence]"},
	// It stands where there is room, which times and numbers leave.
	{regexp.MustCompile(`  (peer of \S+|otherhost)`), ""},
	// Ports that the kernel chose (ip_local_port_range).
	{regexp.MustCompile(`:(3[2-9]|4\d|5\d|60)\d{3}\b`), ":PORT"},
}

// comparable returns a demo's output without what differs each time. Lines are
// filled anew, since the length of numbers decides where they break.
func comparable(output string) string {
	for _, v := range volatile {
		output = v.pattern.ReplaceAllString(output, v.instead)
	}
	// The two ends of a cable come at once, and see at once who asks.
	output = events.ReplaceAllStringFunc(output, func(found string) string {
		return strings.Join(slices.Sorted(strings.Lines(found)), "")
	})
	// Journeys that nobody sees have numbers, too.
	numbers := map[string]string{}
	output = journeyNumber.ReplaceAllStringFunc(output, func(found string) string {
		parts := journeyNumber.FindStringSubmatch(found)
		if numbers[parts[2]] == "" {
			numbers[parts[2]] = fmt.Sprint(len(numbers) + 1)
		}
		return parts[1] + "#" + numbers[parts[2]]
	})
	var b strings.Builder
	concluding := false
	for line := range strings.Lines(output) {
		words := strings.Join(strings.Fields(line), " ")
		goesOn := concluding && words != ""
		concluding = goesOn || conclusion.MatchString(line)
		if (strings.HasPrefix(line, "    ") || goesOn) && b.Len() > 0 {
			b.WriteString(" " + words)
		} else {
			b.WriteString("\n" + words)
		}
	}
	return strings.TrimSpace(b.String())
}

// conclusion finds the sentence that a probe ends with.
var conclusion = regexp.MustCompile(`^[A-Z][A-Z ]+: `)

// events finds lines about links that came, one after the other, and about address
// resolution.
var events = regexp.MustCompile(`(?m)(^link .* came: .*\n)+|(^.* ARP .*\n)+`)

// journeyNumber finds the number of a journey; those of rules stand elsewhere.
var journeyNumber = regexp.MustCompile(`(?m)(^|\bas |\bto |\bof |\bamends |\babout |\bby )#(\d+)`)

// demoSteps returns the parts of a demo's output that belong to one command each:
// from the line with the command to the next one's introduction.
func demoSteps(output string) []string {
	var steps []string
	paragraphs := strings.Split(strings.TrimSpace(output), "\n\n")
	for _, p := range paragraphs[:len(paragraphs)-1] { // the last one is the story's end
		at := 0
		if !strings.HasPrefix(p, "$ ") {
			at = strings.Index(p, "\n$ ") + 1
		}
		switch {
		case at > 0 || strings.HasPrefix(p, "$ "):
			steps = append(steps, p[at:])
		case len(steps) > 0:
			steps[len(steps)-1] += "\n\n" + p
		}
	}
	return steps
}

func TestComparableSetsAsideWhatDiffers(t *testing.T) {
	one := "link docker0 changed: state down → up\n" +
		"link eth0 in back came: veth\nlink veth1 came: veth, state down\n" +
		"#3 a → b  echo request 1  84 B    left by eth0\n  host veth1  in   172.17.0.2:40123 → 172.17.0.3:80  +1.3 µs  peer of a:eth0\n" +
		"    ⇒ source 172.17.0.2 becomes 192.0.2.10  MASQUERADE  [conntrack 1234567]\n#4 as #3, seq 2   left by eth0  7.6 µs\n"
	other := "link veth1 came: veth, peer of back:eth0\nlink eth0 in back came: veth, peer of host:veth1\n" +
		"#1 a → b  echo request 1  84 B    left by eth0\n  host veth1  in   172.17.0.2:51000 → 172.17.0.3:80  same stamp\n" +
		"    ⇒ source 172.17.0.2 becomes 192.0.2.10  MASQUERADE\n      [ct 2]\n#2 as #1, seq 2   left by eth0  17 ms\n"
	if a, b := comparable(one), comparable(other); a != b {
		t.Errorf("%s\n--- is not\n%s", a, b)
	}
	for was, is := range map[string]string{"172.17.0.3:80": "172.17.0.3:81", "192.0.2.10": "192.0.2.11", "seq 2": "seq 3", "veth1": "veth2", "a → b": "b → a"} {
		if comparable(one) == comparable(strings.ReplaceAll(one, was, is)) {
			t.Errorf("%s or %s is the same to it", was, is)
		}
	}
}

func TestDemoStepsBeginWithACommand(t *testing.T) {
	got := demoSteps("Title.\n\nWhy:\n$ natlens list\na\n\nb\n\n$ natlens watch\nc\n\nThe end.\nOf it.\n")
	want := []string{"$ natlens list\na\n\nb", "$ natlens watch\nc"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFirstDemoFitsAScreen is about the first command of the README, with the two lines
// of its summary. What is recorded is what is shown, unless a packet was sent again.
func TestFirstDemoFitsAScreen(t *testing.T) {
	if lines := strings.Count(readPage(t, goldenDemo("masquerade")), "\n") + 2; lines > 45 {
		t.Errorf("%d lines, want at most 45", lines)
	}
}

// TestComparableWhereverLinesBreak wants one text of what differs in how long its words are.
func TestComparableWhereverLinesBreak(t *testing.T) {
	behind := "\n\nFrom the host in:\n$ sudo natlens probe host database\n"
	a := comparable("DROPPED: at forward by DOCKER #2 [evaluated],\nas expected." + behind)
	b := comparable("DROPPED: at forward by DOCKER #2 [counter], as\nexpected." + behind)
	if a != b || !strings.HasSuffix(a, "\n$ sudo natlens probe host database") {
		t.Errorf("%q and %q", a, b)
	}
}
