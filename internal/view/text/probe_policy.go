package text

import (
	"strings"
	"time"

	"natlens/internal/probe"
)

// PolicyLine says whether one line of a policy holds, and if it does not, why. It
// ends with a line break.
func (st Style) PolicyLine(rule probe.Rule, o *probe.Outcome, verbose bool, timeout time.Duration) string {
	question := st.Escape(rule.Request.String())
	switch {
	case o.Failed != nil:
		return st.Paint(Bad, "?   ") + " " + question + ": " + st.Escape(o.Failed.Error()) + "\n"
	case o.Result == rule.Want && !verbose:
		return st.Paint(Good, "ok  ") + " " + question + " " + string(o.Result) + "\n"
	case o.Result == rule.Want:
		return st.Paint(Good, "ok  ") + " " + question + " " + string(o.Result) + "\n" + st.indented(o, timeout)
	}
	return st.Paint(Bad, "FAIL") + " " + question + " should be " + string(rule.Want) + ", was " + string(o.Result) + "\n" +
		st.indented(o, timeout)
}

func (st Style) indented(o *probe.Outcome, timeout time.Duration) string {
	const indent = "     "
	narrow := st
	narrow.Width = st.Columns() - len(indent)
	var b strings.Builder
	for line := range strings.Lines(narrow.Probe(Detail{}, o, timeout)) {
		b.WriteString(indent + line)
	}
	return b.String()
}
