package text

import (
	"fmt"
	"strings"
)

// story is an explanation as it is written: headings, sentences, and the
// commands that check them.
type story struct {
	Style
	b       strings.Builder
	asRoot  bool // some command needs root
	started bool
}

const storyIndent = 2

// title begins the explanation of one thing.
func (s *story) title(name, rest string) {
	if s.started {
		s.b.WriteByte('\n')
	}
	s.started = true
	for i, line := range Wrap(name+": "+rest, s.Columns()) {
		if after, ok := strings.CutPrefix(line, name+":"); ok && i == 0 {
			line = s.Paint(Name, name) + ":" + after
		}
		s.b.WriteString(line + "\n")
	}
}

// part begins a part of it.
func (s *story) part(head string) {
	s.b.WriteByte('\n')
	s.b.WriteString(s.Cut(s.Paint(Strong, head), s.Columns()) + "\n")
}

// draw adds lines as they are.
func (s *story) draw(lines []string) {
	if len(lines) == 0 {
		return
	}
	s.b.WriteByte('\n')
	for _, l := range lines {
		s.b.WriteString(l + "\n")
	}
}

// say adds sentences. What came from outside must be escaped already.
func (s *story) say(format string, args ...any) { s.wrapped(storyIndent, Plain, format, args...) }

// warn adds sentences about what does not work.
func (s *story) warn(format string, args ...any) {
	s.wrapped(storyIndent, Bad, s.symbols().cross+" "+format, args...)
}

func (s *story) wrapped(indent int, tone Tone, format string, args ...any) {
	for _, line := range Wrap(fmt.Sprintf(format, args...), s.Columns()-indent) {
		s.b.WriteString(strings.Repeat(" ", indent) + s.Paint(tone, line) + "\n")
	}
}

// check adds a command that anyone may run to see for himself.
func (s *story) check(format string, args ...any) { s.command("$", fmt.Sprintf(format, args...)) }

// checkAsRoot adds a command that needs root.
func (s *story) checkAsRoot(format string, args ...any) {
	s.asRoot = true
	s.command("#", fmt.Sprintf(format, args...))
}

// command writes a command so that it can be pasted: one that is too long for
// a line is continued as a shell reads it.
func (s *story) command(prompt, command string) {
	const indent = "    "
	room := s.Columns() - len(indent) - 2
	if Columns(command) <= room {
		s.b.WriteString(indent + s.Paint(Dim, prompt+" "+command) + "\n")
		return
	}
	lines := breakCommand(command, room-2)
	for i, l := range lines {
		lead := prompt + " "
		if i > 0 {
			lead = "  "
		}
		if i < len(lines)-1 {
			l += ` \`
		}
		s.b.WriteString(indent + s.Paint(Dim, lead+l) + "\n")
	}
}

// breakCommand breaks at spaces outside quotes. A word that is too long stays
// whole: a command that can't be pasted is worse than a long line.
func breakCommand(command string, room int) []string {
	var lines []string
	line := ""
	for _, w := range shellWords(command) {
		switch {
		case line == "":
			line = w
		case Columns(line)+1+Columns(w) <= room:
			line += " " + w
		default:
			lines = append(lines, line)
			line = w
		}
	}
	return append(lines, line)
}

// shellWords splits at spaces that are not between single quotes.
func shellWords(command string) []string {
	quoted := false
	return strings.FieldsFunc(command, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// rule quotes a rule on lines of its own.
func (s *story) rule(text string) {
	for _, line := range Wrap(s.Escape(text), s.Columns()-4) {
		s.b.WriteString("    " + line + "\n")
	}
}

// row adds a line of a list.
func (s *story) row(line string) {
	s.b.WriteString(strings.TrimRight(s.Cut("    "+line, s.Columns()), " ") + "\n")
}

// finish returns the text.
func (s *story) finish() string {
	if s.asRoot {
		s.b.WriteByte('\n')
		s.wrapped(0, Dim, "Commands after # need root; those after $ do not.")
	}
	return s.b.String()
}
