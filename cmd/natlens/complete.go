package main

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"natlens/internal/explain"
	"natlens/internal/view/text"
	"natlens/netinfo"
	"natlens/trace/filter"
)

// Who presses Tab does not want to wait, and no message in the line that he types:
// what can't be had in time is not offered.
const (
	completionPatience = 300 * time.Millisecond
	enginePatience     = 200 * time.Millisecond
)

// lookQuickly scans the host, or knows no more than its own links when that takes
// too long. The scan that is under way then ends with the program, at once.
func lookQuickly(ctx context.Context) *netinfo.Topology {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	scanned := make(chan *netinfo.Topology, 1)
	go func() {
		t, err := netinfo.Scan(ctx, netinfo.Options{Patience: enginePatience})
		if err != nil {
			t = ownLinks()
		}
		scanned <- t
	}()
	select {
	case t := <-scanned:
		return t
	case <-ctx.Done():
		return ownLinks()
	}
}

// ownLinks knows the names of the links of natlens's own namespace.
func ownLinks() *netinfo.Topology {
	self := &netinfo.Namespace{ID: 1, Name: "host", NameFrom: "self"}
	interfaces, err := net.Interfaces()
	if err == nil { // else there is nothing to offer
		for _, i := range interfaces {
			self.Links = append(self.Links, &netinfo.Link{Key: netinfo.LinkKey{Namespace: self.ID, Index: int32(i.Index)}, Name: i.Name, Role: netinfo.RoleOther})
		}
	}
	return (&netinfo.Topology{Self: self.ID, Namespaces: []*netinfo.Namespace{self}}).Seal()
}

// offer is what a Tab offers, with a word about each where the shell shows it.
type offer struct {
	typed       string // what everything must begin with
	completions []cobra.Completion
}

// add offers a name. One that a shell would not read back as it is, is left out:
// names come from outside, and the shell's own script takes them line by line.
func (o *offer) add(name, about string) {
	if name == "" || !strings.HasPrefix(name, o.typed) || text.Escape(name) != name || strings.ContainsFunc(name, unicode.IsSpace) {
		return
	}
	for i, c := range o.completions {
		if known, before, _ := strings.Cut(c, "\t"); known == name {
			o.completions[i] = cobra.CompletionWithDesc(name, before+", "+about)
			return
		}
	}
	o.completions = append(o.completions, cobra.CompletionWithDesc(name, about))
}

func (o *offer) done() ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completions, cobra.ShellCompDirectiveNoFileComp
}

func (o *offer) containers(t *netinfo.Topology) {
	for _, c := range t.Containers {
		o.add(c.Name, "container")
	}
}

func (o *offer) networks(t *netinfo.Topology) {
	for _, n := range t.Networks {
		o.add(n.Name, "network")
	}
}

// namespaces offers those that are no container's, by name.
func (o *offer) namespaces(t *netinfo.Topology) {
	for _, n := range t.Namespaces {
		if len(n.Containers) == 0 || n.ID == t.Self {
			o.add(n.Name, "namespace")
		}
	}
}

// links offers the host's links, and those of other namespaces once something of
// a name is typed: there are as many as containers.
func (o *offer) links(t *netinfo.Topology) {
	for _, n := range t.Namespaces {
		for _, l := range n.Links {
			switch {
			case n.ID == t.Self:
				o.add(l.Name, linkWord(l))
			case o.typed != "" && l.Role != netinfo.RoleLoopback:
				o.add(n.Name+":"+l.Name, linkWord(l))
			}
		}
	}
}

func linkWord(l *netinfo.Link) string {
	if l.Role == netinfo.RoleOther {
		return "link"
	}
	return string(l.Role)
}

// completeTargets completes what explain takes.
func completeTargets(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	for _, topic := range explain.Topics {
		o.add(topic, "topic")
	}
	t := lookQuickly(cmd.Context())
	o.containers(t)
	o.networks(t)
	o.namespaces(t)
	o.links(t)
	return o.done()
}

func completeContainers(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	o.containers(lookQuickly(cmd.Context()))
	return o.done()
}

func completeLinks(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	o.links(lookQuickly(cmd.Context()))
	return o.done()
}

// completeFilter completes a filter that is typed as words of the shell.
func completeFilter(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeWords(cmd, args, typed, func(string) bool { return true })
}

// completeFlows leaves out the words that no flow can answer.
func completeFlows(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return completeWords(cmd, args, typed, ofFlows)
}

// ofFlows reports whether a flow can answer what begins with a word of filters.
func ofFlows(word string) bool {
	for _, rest := range []string{"", " x", " 1", " dropped", " host 02:42:ac:11:00:02", " = 1"} {
		if pick, err := filter.Parse(word+rest, nil); err == nil {
			return pick.OfPackets() == ""
		}
	}
	return true // begins nothing by itself
}

func completeWords(cmd *cobra.Command, args []string, typed string, keep func(string) bool) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	next := filter.After(strings.Join(args, " "))
	if next.Container || next.Network || next.Link {
		t := lookQuickly(cmd.Context())
		if next.Container {
			o.containers(t)
		}
		if next.Network {
			o.networks(t)
		}
		if next.Link {
			o.links(t)
		}
	}
	for _, w := range next.Words {
		if keep(w) {
			o.add(w, "filter")
		}
	}
	return o.done()
}

// completeProbe completes FROM and TO[:PORT]; the ports are those that the engine
// knows of.
func completeProbe(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	o := offer{typed: typed}
	if len(args) > 1 {
		return o.done()
	}
	t := lookQuickly(cmd.Context())
	o.containers(t)
	o.namespaces(t)
	if len(args) == 0 {
		if typed != "" {
			o.links(t)
		}
		return o.done()
	}
	for _, c := range t.Containers {
		for _, p := range c.Ports {
			to := c.Name + ":" + strconv.Itoa(int(p.ContainerPort))
			switch p.Protocol {
			case "tcp":
				o.add(to, "port")
			case "udp":
				o.add(to+"/udp", "port")
			}
		}
	}
	return o.done()
}
