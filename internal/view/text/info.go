package text

import (
	"strconv"
	"strings"

	"natlens/capture/packet"
	"natlens/trace"
)

// info says in a few words what the packet is.
func (st Style) info(j *trace.Journey) string {
	if len(j.Data) == 0 {
		return j.Protocol.String()
	}
	s := st.Escape(packet.Info(j.LinkType, j.Data))
	if inPieces(j) {
		s, _, _ = strings.Cut(s, ", fragment at ") // one journey holds them all
	}
	if j.Protocol == packet.UDP {
		return strings.TrimSpace("UDP " + s) // flags and types name the others
	}
	return s
}

// sequence tells this packet from the others of its flow: "seq 2" for an echo,
// "about #5" for an error, "resends #4" or "repeats #4" for what was there before,
// what it is for all else.
func (st Style) sequence(j *trace.Journey) string {
	for _, r := range j.Related {
		word := map[string]string{"error_about": "about", "retransmission_of": "resends", "duplicate_of": "repeats"}[r.Why]
		if word != "" {
			return word + " #" + strconv.FormatUint(r.ID, 10)
		}
	}
	if len(j.Hops) > 0 && j.Hops[0].Headers.IsEcho() {
		return "seq " + strconv.Itoa(int(j.Hops[0].Headers.ICMPSeq))
	}
	return st.Cut(st.info(j), maxSequence)
}

// maxSequence is how many columns of a line describe the packet.
const maxSequence = 24
