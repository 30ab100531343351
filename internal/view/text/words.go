package text

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlens/netinfo/netfilter"
	"natlens/trace"
)

// hostName is the name that a Topology gives to natlens's own namespace.
const hostName = "host"

const thisHost = "this host"

// maxName is how many columns of a name from outside are shown.
const maxName = 32

// name escapes a name and shortens it to n columns.
func (st Style) name(s string, n int) string {
	return st.Cut(st.Escape(s), n)
}

// verdict says how a journey ended, in words, and whether that is good.
func (st Style) verdict(j *trace.Journey) (string, Tone) {
	v := &j.Verdict
	where := st.place(j)
	var words string
	tone := Plain
	switch v.Result {
	case trace.Left:
		words, tone = "left", Good
		if where != "" {
			words += " by " + where
		}
	case trace.Delivered:
		words, tone = "delivered", Good
		to := st.deliveredTo(j)
		switch {
		case to == thisHost && v.Evidence == trace.ByTap:
			// A rule at INPUT stands behind the tap.
			words = "reached " + to
		case to != "":
			words += " to " + to
		}
	case trace.Dropped:
		words, tone = "dropped", Bad
		if v.Hook != "" {
			words += " at " + st.Escape(string(v.Hook))
		}
		if where != "" {
			words += " after " + where
		}
	case trace.Vanished:
		words, tone = "vanished", Bad
		if where != "" {
			words += " after " + where
		}
	case trace.Flooded:
		words = "flooded"
		if where != "" {
			words += " at " + where
		}
	case trace.Looped:
		words, tone = "looped", Bad
		if where != "" {
			words += " at " + where
		}
	default:
		words = "unfinished"
	}
	if v.By != "" {
		words += " by " + st.Escape(v.By)
	}
	if v.Leak {
		words += ", LEAK: a container's address left un-NATed"
		tone = Bad
	}
	if v.Reason != "" {
		words += ": " + st.Escape(v.Reason)
	}
	// That it was seen, or that conntrack knows its flow, is how most end.
	if v.Evidence != "" && v.Evidence != trace.ByTap && v.Evidence != trace.ByConntrack {
		words += " [" + evidence(v.Evidence) + "]"
	}
	return words, tone
}

// place names the link where the verdict was given: "eth0", or "back:eth0" in
// another namespace; empty when it was not at a hop.
func (st Style) place(j *trace.Journey) string {
	h := hopAt(j, j.Verdict.Hop)
	if h == nil {
		return ""
	}
	return st.link(h)
}

func (st Style) link(h *trace.Hop) string {
	if h.Host == "" && (h.Namespace == hostName || h.Namespace == "") {
		return st.name(h.Interface, maxName)
	}
	return st.name(spaceOf(h), maxName) + ":" + st.name(h.Interface, maxName)
}

// spaceOf names a hop's namespace; where there are several hosts, with its host's
// name in front.
func spaceOf(h *trace.Hop) string {
	switch {
	case h.Host == "":
		return h.Namespace
	case h.Namespace == hostName:
		return h.Host
	}
	return h.Host + "/" + h.Namespace
}

func (st Style) deliveredTo(j *trace.Journey) string {
	h := hopAt(j, j.Verdict.Hop)
	switch {
	case h == nil:
		return st.name(j.To.Name, maxName)
	case h.Host != "":
		return st.name(spaceOf(h), maxName)
	case h.Namespace == hostName:
		return thisHost
	case len(h.Containers) == 1:
		return st.name(h.Containers[0], maxName)
	}
	return st.name(h.Namespace, maxName)
}

func hopAt(j *trace.Journey, i int) *trace.Hop {
	if i < 0 || i >= len(j.Hops) {
		return nil
	}
	return &j.Hops[i]
}

// evidence returns words for what a statement rests on.
func evidence(e trace.Evidence) string {
	switch e {
	case trace.ByTap:
		return "seen"
	case trace.ByTrace:
		return "rule trace"
	case trace.ByInference:
		return "inferred, not proven"
	}
	return string(e) // the others are words already
}

// kindWord returns the name of a translation as iptables spells its target.
func kindWord(t *trace.Translation) string {
	if t.Kind == trace.Proxy {
		return "proxy"
	}
	if t.Undo {
		return "un-" + strings.ToUpper(t.Kind)
	}
	return strings.ToUpper(t.Kind)
}

// relation returns words for a Relation of j.
func relation(j *trace.Journey, r trace.Relation) string {
	if r.Why == "proxied_as" {
		if !slices.ContainsFunc(j.Translations, func(t trace.Translation) bool { return t.Kind == trace.Proxy }) {
			return "asked for #" + strconv.FormatUint(r.ID, 10) // by a name server
		}
		return "the proxy's for #" + strconv.FormatUint(r.ID, 10) // which is the earlier one
	}
	return strings.ReplaceAll(r.Why, "_", " ") + " #" + strconv.FormatUint(r.ID, 10)
}

// position says where a rule stands and what connects it with the packet: [#2,
// counter]. short is the same where that does not fit, with the word for a rule that
// was found by reading the rules cut down; empty where it can't be shorter.
func (st Style) position(r *trace.Rule) (at, short string) {
	var where []string
	if r.Backend == netfilter.NFTables {
		where = append(where, strings.TrimSpace(r.Family+" "+r.Table+" "+r.Chain))
	}
	if r.Position > 0 {
		where = append(where, "#"+strconv.Itoa(r.Position))
	}
	bracket := func(word string) string {
		words := slices.DeleteFunc([]string{strings.Join(where, " "), word}, func(s string) bool { return s == "" })
		if len(words) == 0 {
			return ""
		}
		return "[" + st.Escape(strings.Join(words, ", ")) + "]"
	}
	if r.Evidence == trace.ByRules {
		short = bracket("eval")
	}
	return bracket(evidence(r.Evidence)), short
}

// duration returns a span of time with at most three digits or so: 97 µs,
// 1.5 ms, 3.5 s.
func (st Style) duration(ns int64) string {
	if ns < 0 {
		return "-" + st.duration(-ns)
	}
	switch d := time.Duration(ns); {
	case d < 10*time.Microsecond:
		return trimZero(fmt.Sprintf("%.1f", float64(ns)/1e3)) + " " + st.symbols().micro
	case d < 999500*time.Nanosecond:
		return fmt.Sprintf("%.0f %s", float64(ns)/1e3, st.symbols().micro)
	case d < 999500*time.Microsecond:
		return threeDigits(float64(ns)/1e6) + " ms"
	}
	return threeDigits(float64(ns)/1e9) + " s"
}

func threeDigits(f float64) string {
	switch {
	case f < 9.95:
		return trimZero(fmt.Sprintf("%.1f", f))
	default:
		return fmt.Sprintf("%.0f", f)
	}
}

func trimZero(s string) string { return strings.TrimSuffix(s, ".0") }

// signed is duration with a sign, for the time since the hop before.
func (st Style) signed(ns int64) string {
	if ns < 0 {
		return st.duration(ns)
	}
	return "+" + st.duration(ns)
}
