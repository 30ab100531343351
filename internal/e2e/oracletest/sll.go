package oracletest

import (
	"encoding/binary"
	"os"
	"testing"
)

// WithoutLinks writes a recording as tcpdump did before version 4.99, and does with
// -y LINUX_SLL: without the index of the link.
func (r *Recorder) WithoutLinks(t testing.TB, file string) {
	t.Helper()
	const (
		nanoseconds = 0xa1b23c4d // draft-ietf-opsawg-pcap, section 4
		header      = 24
		record      = 16
		sll, sll2   = 113, 276 // LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2
		long, short = 20, 16   // their headers
	)
	in, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	little := binary.LittleEndian
	if little.Uint32(in) != nanoseconds || little.Uint32(in[20:]) != sll2 {
		t.Fatalf("%s: not what tcpdump writes here", r.file)
	}
	out := append([]byte{}, in[:header-4]...)
	out = little.AppendUint32(out, sll)
	for in = in[header:]; len(in) >= record; {
		size, whole := little.Uint32(in[8:]), little.Uint32(in[12:])
		out = append(out, in[:8]...)
		out = little.AppendUint32(out, size-long+short)
		out = little.AppendUint32(out, whole-long+short)
		p := in[record : record+size]
		in = in[record+size:]
		// Protocol, nothing, index, kind of link, kind of packet, length of the
		// address, address: the same but for the index, in another order.
		out = append(out, 0, p[10])
		out = append(out, p[8:10]...)
		out = append(out, 0, p[11])
		out = append(out, p[12:long]...)
		out = append(out, p[:2]...)
		out = append(out, p[long:]...)
	}
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
}
