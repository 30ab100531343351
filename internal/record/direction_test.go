package record_test

import (
	"bytes"
	"testing"

	"natlens/capture"
	"natlens/capture/pcapng"
	"natlens/internal/record"
	"natlens/trace"
)

// To whom a packet was addressed does not tell which way it went: what a link sends to
// all is a broadcast, too.
func TestWhichWayIsNotGuessed(t *testing.T) {
	d := newDeck(t, record.Config{Others: true})
	for _, direction := range []pcapng.Direction{pcapng.UnknownDirection, pcapng.Inbound, pcapng.Outbound} {
		for reception := pcapng.UnknownReception; reception <= pcapng.Promiscuous; reception++ {
			var file bytes.Buffer
			w, err := pcapng.NewWriter(&file, pcapng.Section{})
			must(t, err)
			id, err := w.Interface(pcapng.Interface{LinkType: pcapng.LinkEthernet})
			must(t, err)
			o := d.datagram(1, 1)
			must(t, w.Packet(&pcapng.Packet{Interface: id, Time: o.Time, WireLength: o.WireLength, Data: o.Data, Direction: direction, Reception: reception}))
			must(t, w.Flush())
			recording, err := record.Open([]record.File{{Name: "a", In: &file}})
			must(t, err)
			_, err = recording.Play(t.Context(), 16, record.Listener{Journey: func(j *trace.Journey) {
				hop := &j.Hops[0]
				known, out := hop.Type != capture.UnknownType, hop.Point.Direction == capture.Out
				if known != (direction != pcapng.UnknownDirection) || out != (direction == pcapng.Outbound) {
					t.Errorf("direction %d and reception %d are told as %v, %v", direction, reception, hop.Type, hop.Point.Direction)
				}
			}})
			must(t, err)
		}
	}
}
