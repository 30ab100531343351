package text

import (
	"fmt"
	"strings"

	"natlens/netinfo/netfilter"
)

// namedSpaces is how many namespaces the opening line names.
const namedSpaces = 6

// Watching is what a watch says first: where it looks, and what it had to leave
// out and why. It ends with a line break.
func (st Style) Watching(names []string, links int, left []string) string {
	var said []string
	for i, n := range names {
		if i == namedSpaces && len(names) > namedSpaces+1 {
			said = append(said, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		said = append(said, st.Escape(n))
	}
	line := fmt.Sprintf("watching %s: %s, %d left out. Ctrl-C ends.", strings.Join(said, ", "), counted(uint64(links), "link"), len(left))
	said = append(said[:0], strings.Join(Wrap(line, st.Columns()), "\n"))
	for _, l := range left {
		said = append(said, st.hung("left out: "+l))
	}
	return strings.Join(said, "\n") + "\n"
}

// Tracing is what a watch with --trace says next: what it writes, and how many packets
// it asks for. With more are sentences about namespaces where that is different. It
// ends with a line break; with traced false, and no sentences, it is empty.
func (st Style) Tracing(traced bool, more []string) string {
	var said strings.Builder
	if traced {
		said.WriteString(st.hung(fmt.Sprintf("tracing: a table inet %s… is in each namespace until natlens ends, even if killed; "+
			"together they trace %d packets a second that enter a namespace, %[2]d that begin in one, and some more of ICMP and "+
			"first packets of TCP; not all the time where packets are very many; of rules of frames (bridge, netdev) those "+
			"behind IP's prerouting or output", netfilter.TraceTable, netfilter.DefaultTraceRate)) + "\n")
	}
	for _, sentence := range more {
		said.WriteString(st.hung(sentence) + "\n")
	}
	return said.String()
}

// hung is a sentence on as many lines as it takes, the later ones indented.
func (st Style) hung(sentence string) string {
	return strings.Join(Wrap(st.Escape(sentence), st.Columns()-4), "\n    ")
}
