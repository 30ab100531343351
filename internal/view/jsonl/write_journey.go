package jsonl

// What the structures of a journey look like in JSON: the same as their tags say,
// without reflection. A test holds the two against each other, field by field.

func (x *journey) write(w *writer) {
	w.b = append(w.b, '{')
	w.integer("schema", int64(x.Schema))
	w.text("kind", x.Kind)
	w.number("id", x.ID)
	w.someNumber("supersedes", x.Supersedes)
	w.time("time", x.Time)
	w.text("protocol", x.Protocol)
	w.someText("info", x.Info)
	x.From.write(w, "from")
	x.To.write(w, "to")
	w.text("direction", x.Direction)
	w.open("hops", '[')
	for i := range x.Hops {
		x.Hops[i].write(w)
	}
	w.close(']')
	w.open("translations", '[')
	for i := range x.Translations {
		x.Translations[i].write(w)
	}
	w.close(']')
	w.open("rules", '[')
	for i := range x.Rules {
		x.Rules[i].write(w, "")
	}
	w.close(']')
	w.open("flows", '[')
	for i := range x.Flows {
		x.Flows[i].write(w)
	}
	w.close(']')
	x.Verdict.write(w)
	w.open("related", '[')
	for _, r := range x.Related {
		w.open("", '{')
		w.number("id", r.ID)
		w.text("why", r.Why)
		w.close('}')
	}
	w.close(']')
	w.texts("notes", x.Notes)
	w.close('}')
}

func (x *endpoint) write(w *writer, k string) {
	w.open(k, '{')
	w.someText("name", x.Name)
	w.someText("host", x.Host)
	w.texts("containers", x.Containers)
	if x.IP.IsValid() {
		w.address("ip", x.IP)
	}
	w.someNumber("port", uint64(x.Port))
	w.close('}')
}

func (x *translation) write(w *writer) {
	w.open("", '{')
	w.text("kind", x.Kind)
	w.someText("namespace", x.Namespace)
	w.someText("host", x.Host)
	if len(x.Between) > 0 {
		w.open("between", '[')
		for _, i := range x.Between {
			w.place("", i)
		}
		w.close(']')
	}
	w.someNumber("peer_journey", x.PeerJourney)
	w.someText("hook", x.Hook)
	w.flag("undo", x.Undo)
	w.open("before", '{')
	x.Before.write(w)
	w.close('}')
	w.open("after", '{')
	x.After.write(w)
	w.close('}')
	w.text("evidence", x.Evidence)
	w.someNumber("conntrack_id", uint64(x.ConntrackID))
	if x.Rule != nil {
		x.Rule.write(w, "rule")
	}
	w.close('}')
}

func (x *ruleName) write(w *writer) {
	w.someText("backend", x.Backend)
	w.someText("family", x.Family)
	w.someText("table", x.Table)
	w.someText("chain", x.Chain)
	if x.Position != 0 {
		w.integer("position", int64(x.Position))
	}
	w.someNumber("handle", x.Handle)
	w.someText("text", x.Text)
}

func (x *rule) write(w *writer, k string) {
	w.open(k, '{')
	w.someText("namespace", x.Namespace)
	w.someText("host", x.Host)
	if len(x.Between) > 0 {
		w.open("between", '[')
		for _, i := range x.Between {
			w.place("", i)
		}
		w.close(']')
	}
	w.someText("hook", x.Hook)
	if x.Policy {
		w.flag("policy", true)
	}
	w.someText("verdict", x.Verdict)
	w.someText("target", x.Target)
	x.ruleName.write(w)
	w.someText("evidence", x.Evidence)
	if x.Marker != nil {
		w.open("marker", '{')
		x.Marker.write(w)
		w.close('}')
	}
	w.close('}')
}

func (x *verdict) write(w *writer) {
	w.open("verdict", '{')
	w.text("result", x.Result)
	switch at := x.At.(type) {
	case int:
		w.integer("at", int64(at))
	case string:
		w.text("at", at)
	}
	w.someText("hook", x.Hook)
	w.someText("by", x.By)
	if x.Rule != nil {
		x.Rule.write(w, "rule")
	}
	w.someText("reason", x.Reason)
	w.someText("evidence", x.Evidence)
	w.flag("leak", x.Leak)
	w.close('}')
}

func (x *flow) write(w *writer) {
	w.open("", '{')
	w.someText("namespace", x.Namespace)
	w.someText("host", x.Host)
	w.someNumber("namespace_inode", x.NamespaceInode)
	w.number("id", uint64(x.ID))
	w.number("zone", uint64(x.Zone))
	if x.ReplyZone != nil {
		w.number("reply_zone", uint64(*x.ReplyZone))
	}
	w.texts("status", x.Status)
	x.Original.write(w, "original")
	x.Reply.write(w, "reply")
	w.close('}')
}

func (x *hop) write(w *writer) {
	w.open("", '{')
	w.time("time", x.Time)
	w.someText("host", x.Host)
	if x.Clock != 0 {
		w.integer("clock", x.Clock)
	}
	w.someText("namespace", x.Namespace)
	w.someNumber("namespace_inode", x.NamespaceInode)
	w.someText("interface", x.Interface)
	w.integer("ifindex", int64(x.Ifindex))
	w.someText("direction", x.Direction)
	w.text("packet_type", x.PacketType)
	w.texts("containers", x.Containers)
	w.texts("peer_containers", x.PeerContainers)
	x.Source.write(w, "source")
	x.Destination.write(w, "destination")
	if x.IPID != nil {
		w.number("ip_id", uint64(*x.IPID))
	}
	if x.ICMP != nil {
		w.open("icmp", '{')
		w.number("type", uint64(x.ICMP.Type))
		w.number("code", uint64(x.ICMP.Code))
		if x.ICMP.ID != nil {
			w.number("id", uint64(*x.ICMP.ID))
		}
		if x.ICMP.Seq != nil {
			w.number("seq", uint64(*x.ICMP.Seq))
		}
		w.close('}')
	}
	if x.TCP != nil {
		w.open("tcp", '{')
		w.number("seq", uint64(x.TCP.Seq))
		w.number("ack", uint64(x.TCP.Ack))
		w.text("flags", x.TCP.Flags)
		w.close('}')
	}
	if x.TTL != nil {
		w.number("ttl", uint64(*x.TTL))
	}
	if x.Length != nil {
		w.number("length", uint64(*x.Length))
	}
	if x.MAC != nil {
		w.open("mac", '{')
		w.mac("source", x.MAC.Source)
		w.mac("destination", x.MAC.Destination)
		w.close('}')
	}
	if x.From != nil {
		w.place("from", *x.From)
	}
	if x.SameStamp {
		w.flag("same_stamp", true)
	}
	if x.Part != nil {
		w.open("part", '{')
		w.integer("index", int64(x.Part.Index))
		w.integer("of", int64(x.Part.Of))
		w.number("offset", uint64(x.Part.Offset))
		w.close('}')
	}
	if x.MergedWith > 0 {
		w.integer("merged_with", int64(x.MergedWith))
	}
	x.Quoted.write(w, "quoted")
	w.close('}')
}

// write does nothing where there is no end.
func (x *end) write(w *writer, k string) {
	if x == nil {
		return
	}
	w.open(k, '{')
	w.address("ip", x.IP)
	if x.Port != nil {
		w.number("port", uint64(*x.Port))
	}
	w.close('}')
}

func (x *ends) write(w *writer) {
	x.Source.write(w, "source")
	x.Destination.write(w, "destination")
	if x.ICMP != nil {
		w.open("icmp", '{')
		w.number("type", uint64(x.ICMP.Type))
		w.number("code", uint64(x.ICMP.Code))
		if x.ICMP.ID != nil {
			w.number("id", uint64(*x.ICMP.ID))
		}
		w.close('}')
	}
}

// write does nothing where there is no tuple.
func (x *tuple) write(w *writer, k string) {
	if x == nil {
		return
	}
	w.open(k, '{')
	w.text("protocol", x.Protocol)
	x.ends.write(w)
	w.close('}')
}
