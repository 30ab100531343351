package main

import (
	"fmt"
	"net/netip"
	"strings"

	"natlens/internal/flows"
	"natlens/internal/view/text"
	"natlens/netinfo"
)

// account says what was shown and what was not.
func (v *flowView) account() {
	words := fmt.Sprintf("%d of %d flows shown", v.shown, v.shown+v.plain+v.others)
	if v.plain > 0 {
		words += fmt.Sprintf("; nothing translates %d that match (--all shows them)", v.plain)
	}
	fmt.Fprintln(v.app.stderr, words)
}

// hints say what this host could tell of the flows that were shown and does not, and
// where none was shown what that means. asked are the namespaces whose tables were read.
func (v *flowView) hints(t *flows.Table, asked []string) {
	say := func(sentence string) {
		style := v.app.style()
		fmt.Fprintln(v.app.stderr, strings.Join(text.Wrap(style.Escape(sentence), style.Columns()), "\n"))
	}
	if unkept := v.unkept(); unkept != "" {
		say(unkept)
	}
	if v.shown+v.plain == 0 {
		for _, end := range v.ends {
			say(v.nobody(t.Topology(), end, asked))
		}
	}
}

// unkept names the settings that have the kernel keep what is missing; empty when
// nothing is.
func (v *flowView) unkept() string {
	var missing, settings []string
	add := func(n int, what, setting string) {
		if n > 0 {
			missing = append(missing, fmt.Sprintf("%s of %d", what, n))
			settings = append(settings, "net.netfilter."+setting+"=1")
		}
	}
	add(v.unaged, "age", "nf_conntrack_timestamp")
	add(v.uncounted, "packets and bytes", "nf_conntrack_acct")
	if missing == nil {
		return ""
	}
	return fmt.Sprintf("not known: %s; the kernel keeps that for flows that begin after sysctl -w %s",
		strings.Join(missing, ", "), strings.Join(settings, " "))
}

// mostAsked is how many namespaces are named.
const mostAsked = 6

// nobody says that no flow has an end there, and what may be the reason.
func (v *flowView) nobody(t *netinfo.Topology, end netip.AddrPort, asked []string) string {
	sentence := fmt.Sprintf("no flow has an end at %v", end)
	if c, port := publishedAt(t, end); c != "" {
		sentence = fmt.Sprintf("%v is published for %s, port %d, and no flow comes through it", end, c, port)
	}
	if len(asked) > mostAsked+1 {
		asked = append(asked[:mostAsked:mostAsked], fmt.Sprintf("%d more", len(asked)-mostAsked))
	}
	sentence += " in the tables of " + strings.Join(asked, ", ")
	if v.flags.follow {
		return sentence + "; waiting for one"
	}
	return sentence + ". What has ended is not in them: -f follows what comes, and natlens watch -w keeps it for --read"
}

// publishedAt finds the container, and its port, for which an address and port of this
// host is published.
func publishedAt(t *netinfo.Topology, end netip.AddrPort) (name string, port uint16) {
	self := t.Namespace(t.Self)
	for _, c := range t.Containers {
		for _, p := range c.Ports {
			at := p.HostAddress
			if !at.IsValid() || at.Port() != end.Port() {
				continue
			}
			everywhere := at.Addr().IsUnspecified() && at.Addr().Is4() == end.Addr().Is4() && self != nil && self.HasAddress(end.Addr())
			if at.Addr() == end.Addr() || everywhere {
				return c.Name, p.ContainerPort
			}
		}
	}
	return "", 0
}
