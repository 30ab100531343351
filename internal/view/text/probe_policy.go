package text

import (
	"strings"
	"time"

	"natlens/internal/probe"
)

// PolicyLine says whether one line of a policy holds, and if it does not, why; at is where
// the line stands. It ends with a line break.
func (st Style) PolicyLine(at string, rule probe.Rule, o *probe.Outcome, verbose bool, timeout time.Duration) string {
	question, is := st.Escape(rule.Request.String()), probe.Answered(o)
	bad := st.Paint(Bad, "FAIL") + " " + question
	switch {
	case o.Failed != nil && probe.NotHere(o.Failed):
		return st.wrapped(st.Paint(Bad, "FAIL"), question+" cannot be checked ("+st.Escape(at)+"): "+st.Escape(o.Failed.Error()))
	case o.Failed != nil:
		return st.wrapped(st.Paint(Bad, "?   "), question+": "+st.Escape(o.Failed.Error()))
	case rule.Holds(o) && !verbose:
		return st.Paint(Good, "ok  ") + " " + question + " " + string(is) + "\n"
	case rule.Holds(o):
		return st.Paint(Good, "ok  ") + " " + question + " " + string(is) + "\n" + st.indented(o, verbose, timeout)
	case o.Result == "" && is == "":
		return bad + " should be " + string(rule.Want) + ", and what is expected is not sure\n" + st.indented(o, verbose, timeout)
	case o.Result == "":
		return bad + " should be " + string(rule.Want) + ", is expected to be " + string(is) + "\n" + st.indented(o, verbose, timeout)
	}
	return bad + " should be " + string(rule.Want) + ", was " + string(is) + "\n" + st.indented(o, verbose, timeout)
}

// indent is where the question of a line begins.
const indent = "     "

// wrapped lays out what is said of a line, behind its mark.
func (st Style) wrapped(mark, text string) string {
	return mark + " " + strings.Join(Wrap(text, st.Columns()-len(indent)), "\n"+indent) + "\n"
}

func (st Style) indented(o *probe.Outcome, verbose bool, timeout time.Duration) string {
	narrow := st
	narrow.Width = st.Columns() - len(indent)
	story := narrow.Probe(Detail{}, o, timeout)
	if o.Result == "" {
		story = narrow.Prediction(Detail{Verbose: verbose}, o)
	}
	var b strings.Builder
	for line := range strings.Lines(story) {
		b.WriteString(indent + line)
	}
	return b.String()
}
