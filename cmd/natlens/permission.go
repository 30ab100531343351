package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// Capabilities (capabilities(7)) that commands ask for.
const (
	capNetRaw   = "CAP_NET_RAW"   // packet sockets
	capNetAdmin = "CAP_NET_ADMIN" // conntrack and nf_tables
	capSysAdmin = "CAP_SYS_ADMIN" // entering the containers' namespaces
)

// notPermitted makes the error for a command that this user or host does not
// permit: err in a line, the command to run instead, and what works without.
func (a *app) notPermitted(cmd *cobra.Command, err error) error {
	var advice []string
	if os.Geteuid() == 0 {
		advice = append(advice,
			"This process is root without them, as in a container or a user namespace.",
			"Run it on the host itself, or with docker run --net=host --pid=host --privileged.")
	} else {
		advice = append(advice, "Run", "  "+a.sudoCommand())
	}
	if works := worksWithout(cmd); len(works) > 0 {
		advice = append(advice, "These work without: "+strings.Join(works, ", ")+".")
	}
	return &notPermitted{err: err, advice: advice}
}

// unprivileged names the commands that need no privilege at all.
var unprivileged = []string{"demo", "read", "doctor"}

// worksWithout returns those that exist, as they are typed, cmd itself excepted.
func worksWithout(cmd *cobra.Command) []string {
	var works []string
	for _, name := range unprivileged {
		for _, c := range cmd.Root().Commands() {
			if c.Name() == name && c != cmd {
				works = append(works, cmd.Root().CommandPath()+" "+name)
			}
		}
	}
	return works
}

// sudoCommand returns the line that runs what was typed with privileges. The
// program is named by its absolute path, because sudo's PATH is not the user's
// (secure_path in sudoers(5)).
func (a *app) sudoCommand() string {
	program, err := os.Executable()
	if err != nil {
		program = "natlens"
	}
	words := append([]string{"sudo", program}, a.args...)
	for i, w := range words {
		words[i] = shellQuote(w)
	}
	line := strings.Join(words, " ")
	// What go run and go test build lies in a cache or is removed afterwards.
	if strings.Contains(program, "/go-build") {
		line = "go build ./cmd/natlens && " + strings.Replace(line, shellQuote(program), "./natlens", 1)
	}
	return line
}

// shellQuote returns word as a POSIX shell reads it back unchanged.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("%+,-./:=@_", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// enumerate returns "a", "a and b" or "a, b and c".
func enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
