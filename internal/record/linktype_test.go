package record_test

import (
	"bytes"
	"slices"
	"testing"

	"natlens/capture/pcapng"
	"natlens/internal/record"
)

// What is not read is named once, as tcpdump calls it, and so is what is.
func TestPacketsOfOtherLinks(t *testing.T) {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.Section{})
	must(t, err)
	for _, link := range []pcapng.LinkType{127, 300} {
		id, err := w.Interface(pcapng.Interface{LinkType: link})
		must(t, err)
		for range 2 {
			must(t, w.Packet(&pcapng.Packet{Interface: id, Time: 1, Data: make([]byte, 40)}))
		}
	}
	must(t, w.Flush())
	recording, err := record.Open([]record.File{{Name: "wifi", In: &file}})
	must(t, err)
	var said []string
	_, err = recording.Play(t.Context(), 16, record.Listener{Warning: func(s string) { said = append(said, s) }})
	must(t, err)
	if want := []string{
		"wifi: packets of link type IEEE802_11_RADIOTAP are left out: only Ethernet, raw IP, loopback and Linux cooked headers are read",
		"wifi: packets of link type 300 are left out: only Ethernet, raw IP, loopback and Linux cooked headers are read",
	}; !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}
