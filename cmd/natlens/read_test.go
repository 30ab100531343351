package main

import (
	"slices"
	"testing"

	"natlens/internal/record"
)

// What a watch picked is said once, however many files it wrote.
func TestPicked(t *testing.T) {
	var files []record.File
	for _, name := range []string{"web_1.pcapng", "other.pcap", "web_2.pcapng", "dns.pcapng", "web_3.pcapng"} {
		files = append(files, record.File{Name: name})
	}
	got := picked(files,
		map[string]string{"web_1.pcapng": "tcp", "web_2.pcapng": "tcp", "web_3.pcapng": "tcp", "dns.pcapng": "udp"})
	want := []string{"web_1.pcapng and 2 more have what their watch picked: tcp", "dns.pcapng has what its watch picked: udp"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
