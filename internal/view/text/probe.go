package text

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"natlens/capture/packet"
	"natlens/internal/probe"
	"natlens/trace"
)

// Probe shows a probe from the expectation to the sentence that answers it. It
// ends with a line break.
func (st Style) Probe(d Detail, o *probe.Outcome, timeout time.Duration) string {
	p := probeStory{Style: st, o: o, timeout: timeout}
	if o.Failed != nil {
		return p.cut(st.Paint(Bad, "NOT PROBED")+": "+st.Escape(o.Failed.Error())) + "\n"
	}
	p.meaning()
	p.asked()
	p.expected(d.Verbose)
	p.sent()
	p.observed()
	if d.Verbose {
		for _, j := range slices.Concat(o.Journeys.There, o.Journeys.Back) {
			p.b.WriteString(st.Card(d, j))
		}
	}
	p.conclusion()
	return p.b.String()
}

// Prediction shows what is expected of a probe that is not sent.
func (st Style) Prediction(d Detail, o *probe.Outcome) string {
	p := probeStory{Style: st, o: o}
	if o.Failed != nil {
		return p.cut(st.Paint(Bad, "NOT WORKED OUT")+": "+st.Escape(o.Failed.Error())) + "\n"
	}
	p.meaning()
	p.expected(d.Verbose)
	if o.Expected == nil {
		p.conclusion()
	} else {
		p.line("sent", "nothing: --dry-run")
	}
	return p.b.String()
}

type probeStory struct {
	Style
	o       *probe.Outcome
	timeout time.Duration
	b       strings.Builder
}

// headColumn is the width of the words that begin lines.
const headColumn = 10

func (p *probeStory) line(head, text string) {
	for i, l := range Wrap(text, p.Columns()-headColumn) {
		if i > 0 {
			head = ""
		}
		p.b.WriteString(p.Paint(Dim, Pad(head, headColumn)) + l + "\n")
	}
}

func (p *probeStory) cut(s string) string { return strings.Join(Wrap(s, p.Columns()), "\n") }

// name says what TO stands for, where that is not plain.
func (p *probeStory) meaning() {
	d := &p.o.Destination
	if !d.Address.IsValid() || d.Word == d.Address.String() {
		return
	}
	text := p.Escape(d.Word) + " is " + d.Address.String()
	if d.Network != "" {
		text += " on " + p.Escape(d.Network)
	}
	switch l := d.Lookup; {
	case l.Asked && l.Resolves:
		text += ", as " + p.asker() + " learns from " + p.Escape(l.How)
	case l.Asked:
		text += "; but " + p.asker() + " can't resolve that name: " + p.Escape(l.How)
	}
	p.line("name", text)
}

// asked lists the questions about the name, which are packets, too.
func (p *probeStory) asked() {
	for i, q := range p.o.Queries {
		head := ""
		if i == 0 {
			head = "asked"
		}
		p.line(head, fmt.Sprintf("%s of %s at %v, by DNS from inside %s", q.Type, p.Escape(q.Name), q.Server, p.asker()))
	}
}

func (p *probeStory) sent() {
	switch {
	case p.o.Sent.Tuple.Valid():
		t := p.o.Sent.Tuple
		p.line("sent", fmt.Sprintf("%s %s %s %s from inside %s", packetWord(t.Protocol), sourceOf(t), p.symbols().arrow, destinationOf(t),
			p.inside()))
	case p.o.Answer.Err != nil:
		p.line("sent", "nothing: the kernel says "+p.Escape(p.o.Answer.Err.Error()))
	}
}

// inside says from where the packet was sent.
func (p *probeStory) inside() string {
	s := &p.o.Source
	if s.Link == nil {
		return p.Escape(s.Name)
	}
	return p.Escape(s.Namespace.Name) + " by " + p.linkName(s.Link)
}

// asker is whose names and routes they are.
func (p *probeStory) asker() string {
	if s := &p.o.Source; s.Link != nil {
		return p.Escape(s.Namespace.Name)
	}
	return p.Escape(p.o.Source.Name)
}

// packetWord names what a probe sends.
func packetWord(protocol packet.Protocol) string {
	switch protocol {
	case packet.TCP:
		return "SYN"
	case packet.UDP:
		return "datagram"
	}
	return "echo request"
}

func (p *probeStory) observed() {
	if !p.o.Sent.Tuple.Valid() {
		return
	}
	if len(p.o.Journeys.There) == 0 {
		p.line("observed", "nothing: no tap saw it")
	}
	p.ways("observed", p.o.Journeys.There)
	p.ways("back", p.o.Journeys.Back)
	p.line("answer", p.answer())
}

// ways shows each way that packets went, once: those of a connection that follow
// the first go as it does.
func (p *probeStory) ways(head string, journeys []*trace.Journey) {
	var all []string
	for _, j := range journeys {
		if way := p.way(j); !slices.Contains(all, way) {
			all = append(all, way)
			p.line(head, way)
			head = ""
		}
	}
}

// way lists the places a packet passed, and what was changed between them.
func (p *probeStory) way(j *trace.Journey) string {
	var words []string
	if made := p.o.Journeys.Proxied(); made != nil && j.Hops[0].Headers.Tuple == made.Hops[0].Headers.Tuple {
		words = append(words, "docker-proxy")
	}
	for _, i := range mainWay(j) {
		for n := range j.Translations {
			if t := &j.Translations[n]; t.PeerJourney == 0 && t.Between[1] == i {
				words = append(words, "("+p.became(t)+")")
			}
		}
		link := p.link(&j.Hops[i])
		if len(words) == 0 || words[len(words)-1] != link {
			words = append(words, link)
		}
	}
	for n := range j.Translations {
		if t := &j.Translations[n]; t.PeerJourney == 0 && t.Between[1] < 0 {
			words = append(words, "("+p.became(t)+")")
		}
	}
	switch j.Verdict.Result {
	case trace.Delivered, trace.Left:
	default:
		words = append(words, p.Paint(Bad, p.symbols().cross))
	}
	return strings.Join(words, " "+p.symbols().arrow+" ")
}

// mainWay returns the hops that lead to the journey's end, in their order, without
// the other branches of a flood.
func mainWay(j *trace.Journey) (way []int) {
	at := j.Verdict.Hop
	if hopAt(j, at) == nil {
		at = len(j.Hops) - 1
	}
	for ; hopAt(j, at) != nil && !slices.Contains(way, at); at = j.Hops[at].From {
		way = append(way, at)
	}
	slices.Reverse(way)
	return way
}

func (p *probeStory) became(t *trace.Translation) string {
	before, after := changedSource(t)
	switch {
	case destinationChanged(t):
		before, after = changedDestination(t)
	case before == after:
		before, after = changedID(t)
		before = "id " + before
	}
	return fmt.Sprintf("%s %s %s %s", kindWord(t), p.Paint(Before, before), p.symbols().becomes, p.Paint(After, after))
}

func (p *probeStory) answer() string {
	a := &p.o.Answer
	after := " after " + p.duration(a.After.Nanoseconds())
	switch a.Result {
	case probe.Replied:
		if p.o.Request.Protocol == packet.TCP {
			return "SYN-ACK" + after + "; closed again with a reset"
		}
		return "reply" + after
	case probe.Refused, probe.Unreachable:
		switch {
		case a.Objection != nil:
			return p.objection(a.Objection) + "," + after
		case a.Result == probe.Refused:
			return "connection refused" + after
		}
		return p.Escape(a.Err.Error()) + after
	}
	words := "none in " + p.duration(p.timeout.Nanoseconds())
	if a.Objection != nil {
		words += ", then " + p.objection(a.Objection)
	}
	return words
}

// objection says what an ICMP error says, and whose word it is.
func (p *probeStory) objection(x *probe.Objection) string {
	who := x.From.String()
	if n := p.o.Source.Namespace; n != nil && n.HasAddress(x.From) {
		who = "the kernel of " + p.asker() + " itself"
	}
	return x.String() + ", says " + who
}

// conclusion is the one sentence, and what to do about it.
func (p *probeStory) conclusion() {
	word, tone := strings.ToUpper(string(p.o.Result)), Bad
	if p.o.Result == probe.Reached {
		tone = Good
	}
	lines := Wrap(word+": "+p.why()+p.agreement()+".", p.Columns())
	lines[0] = p.Paint(tone, word) + strings.TrimPrefix(lines[0], word)
	p.b.WriteString(strings.Join(lines, "\n") + "\n")
	if command := p.connect(); command != "" {
		p.b.WriteString("To connect them:\n  " + command + "\n")
	}
}

// agreement says how the result compares with what was expected.
func (p *probeStory) agreement() string {
	agreement, differences := p.o.Agreement()
	switch agreement {
	case probe.AsExpected:
		return ", as expected"
	case probe.Consistent:
		reason := p.Escape(p.o.Expected.Reason)
		switch {
		case p.o.Expected.Answer:
			return "; it was expected that " + reason
		case strings.HasPrefix(reason, "dropped "), strings.HasPrefix(reason, "rejected "):
			return "; it was expected to be " + reason
		}
		return "; a drop was expected: " + reason
	case probe.NotAsExpected:
		if differences[0].What == "result" {
			return "; that is not what was expected (" + differences[0].Expected + ")"
		}
		words := ", as expected but for"
		for i, d := range differences {
			if i > 0 {
				words += " and"
			}
			words += fmt.Sprintf(" the %s: %s, not %s", d.What, p.Escape(d.Observed), p.Escape(d.Expected))
		}
		return words
	}
	return ""
}

// why says what the result rests on, without its word.
func (p *probeStory) why() string {
	o, to := p.o, p.Escape(p.o.Destination.Word)
	if to == "" {
		to = p.Escape(o.Request.To)
	}
	cause := o.Cause.Journey
	switch o.Result {
	case probe.Reached:
		if o.Answer.Result == probe.Replied {
			return p.whoAnswered(to) + " answered in " + p.duration(o.Answer.After.Nanoseconds()) + p.behind()
		}
		return "the datagram arrived at " + p.arrivedAt() + ", from which no answer came"
	case probe.RefusedBy:
		nobody := p.arrivedAt() + " got it, and nothing listens on " + o.Request.Protocol.String() + " port " + p.portThere()
		if e := o.Expected; e != nil && e.Result == o.Result && e.Loopback.IsValid() {
			nobody += ", only of " + e.Loopback.String()
		}
		return nobody
	case probe.Dropped:
		if cause == nil && o.Cause.Rule != nil {
			return p.Escape(o.Cause.Reason) + " [evaluated]"
		}
		if cause == nil {
			return p.Escape(o.Cause.Reason)
		}
		words, _ := p.verdict(cause)
		if o.Cause.Answer {
			return "the answer was " + words
		}
		if words = strings.TrimPrefix(words, "dropped "); o.Cause.Rule != nil {
			words += "; " + p.Escape(o.Cause.Reason) + " [evaluated]"
		}
		return words
	case probe.Unresolved:
		return p.Escape(o.Request.From) + " has no address for " + p.Escape(o.Request.To) + ": " + p.Escape(o.Cause.Reason)
	case probe.NoWay:
		return p.noWay()
	}
	if cause == nil {
		return p.Escape(o.Cause.Reason)
	}
	words, _ := p.verdict(cause)
	switch {
	case cause.Verdict.Result == trace.Unfinished:
		what := "it"
		if o.Cause.Answer {
			what = "the answer"
		}
		return "how " + what + " ended is " + p.Escape(cause.Verdict.Reason)
	case o.Cause.Answer:
		return "the answer was on its way and " + words
	case cause.Verdict.Result == trace.Delivered:
		return p.arrivedAt() + " got it, and did not answer"
	case cause.Verdict.Result == trace.Left:
		return "it " + words + ", and nothing came back"
	}
	return "it " + words
}

// noWay says why nobody could deliver the packet.
func (p *probeStory) noWay() string {
	o, cause := p.o, p.o.Cause.Journey
	words := ""
	if cause != nil {
		words, _ = p.verdict(cause)
		if cause.Verdict.Result == trace.Dropped {
			return strings.TrimPrefix(words, "dropped ")
		}
		words = "; it " + words
	}
	switch a := &o.Answer; {
	case o.Cause.Reason != "":
		return p.Escape(o.Cause.Reason) + words
	case a.Objection != nil:
		return p.objection(a.Objection) + words
	case a.Err != nil:
		return p.Escape(a.Err.Error()) + words
	}
	return "nobody on the way could deliver it" + words
}

// whoAnswered names who did: behind a published port that is not whom the address
// seems to mean.
func (p *probeStory) whoAnswered(to string) string {
	if p.o.Journeys.Proxied() != nil {
		return "docker-proxy"
	}
	if at := p.arrivedAt(); at != to && p.o.Journeys.Translated() {
		return at + " (for " + to + ")"
	}
	return to
}

// behind says what a docker-proxy did with the connection.
func (p *probeStory) behind() string {
	made := p.o.Journeys.Proxied()
	if made == nil || len(made.Hops) == 0 {
		return ""
	}
	t := made.Hops[len(made.Hops)-1].Headers.Tuple
	return " and connected to " + p.arrivedAt() + " (" + destinationOf(t) + ") for it"
}

// arrivedAt names who got the packet.
func (p *probeStory) arrivedAt() string {
	if all := p.o.Journeys.There; len(all) > 0 {
		if j := all[len(all)-1]; j.Verdict.Result == trace.Delivered {
			return p.deliveredTo(j)
		}
	}
	return p.Escape(p.o.Destination.Word)
}

// portThere is the port that the packet had when it arrived, and whose: a program may
// well listen at the same port of another address, such as 127.0.0.1.
func (p *probeStory) portThere() string {
	if all := p.o.Journeys.There; len(all) > 0 {
		if hops := all[len(all)-1].Hops; len(hops) > 0 {
			to := hops[len(hops)-1].Headers.Tuple // with a port: nobody refuses an echo request
			return fmt.Sprintf("%d of %v", to.DestinationPort, to.Destination())
		}
	}
	return fmt.Sprintf("%d there", p.o.Request.Port)
}

// connect is the command that lets two isolated containers talk; empty where that
// is not what is missing.
func (p *probeStory) connect() string {
	from, to := p.o.Source.Container, p.o.Destination.Container
	if p.o.Result != probe.Dropped || p.o.Cause.Answer || from == nil || to == nil || p.o.Destination.Network == "" {
		return ""
	}
	for _, e := range from.Endpoints {
		if e.Network == p.o.Destination.Network {
			return ""
		}
	}
	return "docker network connect " + p.Escape(p.o.Destination.Network) + " " + p.Escape(from.Name)
}
