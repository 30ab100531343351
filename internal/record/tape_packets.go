package record

import (
	"natlens/capture"
	"natlens/capture/packet"
	"natlens/capture/pcapng"
	"natlens/trace"
)

// Journey writes the packets of a journey that were not written yet, and takes
// them out of it. Those of one that is not picked may be written later.
func (t *Tape) Journey(j *trace.Journey) {
	w := waitingJourney{journey: j, since: t.Now()}
	for i := range j.Hops {
		h := &j.Hops[i]
		if h.Packet == nil {
			continue
		}
		w.packets = append(w.packets, waitingPacket{i, h.Packet})
		h.Packet = nil // what waits to be shown needs no bytes
	}
	for _, p := range w.packets {
		id := t.iface(p.o, j.Hops[p.hop].Namespace, j.Hops[p.hop].Interface)
		if t.err != nil {
			return
		}
		t.counts[id].received++
	}
	var as amendment
	if t.beside != nil && j.Supersedes != 0 {
		as = t.beside.made.of(j)
	}
	switch {
	case t.config.Leave != nil && t.config.Leave(j):
	case t.picks(j):
		if t.beside != nil {
			t.picked.add(j, as)
			t.beside.pick(j)
		}
		t.journey(&w, true)
	case t.beside != nil && len(w.packets) > 0:
		t.beside.wait(w)
	}
}

// journey writes packets of a journey.
func (t *Tape) journey(w *waitingJourney, picked bool) {
	for _, p := range w.packets {
		id := t.iface(p.o, w.journey.Hops[p.hop].Namespace, w.journey.Hops[p.hop].Interface)
		if t.err != nil {
			return
		}
		said := comments(w.journey, p.hop, p.o.Journey)
		if !picked {
			said[0] = notPicked + "; " + said[0]
		}
		t.packet(id, p.o, said)
	}
}

// notPicked begins the comment of a packet that is there for another's sake.
const notPicked = "not picked by the filter"

// settle tells what was picked, and writes what is needed of what has waited long
// enough at a time.
func (t *Tape) settle(now int64) {
	if t.beside == nil {
		return
	}
	if !t.picked.empty() {
		t.note(kindPicked, t.picked)
		t.picked = picked{}
	}
	for t.err == nil {
		w, ok := t.beside.due(now)
		if !ok {
			return
		}
		t.journey(&w, false)
	}
}

// picks reports whether a journey is to be written.
func (t *Tape) picks(j *trace.Journey) bool {
	switch {
	case t.config.Match != nil && !t.config.Match(j):
		return false
	case t.config.Limit == 0 || j.Supersedes != 0:
		return true
	case t.written == t.config.Limit:
		return false
	}
	t.written++
	return true
}

// Other writes a packet that belongs to no journey.
func (t *Tape) Other(o *capture.Observation) {
	namespace, link := t.known.place(o)
	id := t.iface(o, namespace, link)
	if t.err != nil {
		return
	}
	t.counts[id].received++
	switch {
	case t.config.Others:
		t.packet(id, o, nil)
	case t.beside != nil && (o.Headers.IsIP() || o.Headers.Layers.Has(packet.LayerARP)):
		// Who asked for an address in vain is said of packets, too.
		t.packet(id, o, []string{notPicked})
	}
}

func (t *Tape) packet(id int, o *capture.Observation, comments []string) {
	p := pcapng.Packet{
		Interface: id, Time: o.Time, WireLength: o.WireLength, Data: o.Data, ID: o.Journey, Comments: comments,
		Direction: pcapng.Inbound, Reception: receptions[o.Type],
	}
	if o.Type == capture.Outgoing {
		p.Direction = pcapng.Outbound
	}
	t.packets++
	t.keep(t.w.Packet(&p))
}

// receptions are the kernel's packet types in the file's words.
var receptions = map[capture.PacketType]pcapng.Reception{
	capture.Host: pcapng.Unicast, capture.Broadcast: pcapng.Broadcast, capture.Multicast: pcapng.Multicast, capture.OtherHost: pcapng.Promiscuous,
}
