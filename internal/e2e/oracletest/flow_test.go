package oracletest

import (
	"testing"
	"time"
)

// A tuple belongs to the entry that has it at that time; to none when that is gone.
func TestFlowAt(t *testing.T) {
	const second = int64(1e9)
	from, to := Address{back, 4000}, Address{world, 53}
	made := func(id uint64, at, ended int64) Entry {
		return Entry{ID: id, Time: at, Ended: ended, Protocol: "udp", Original: [2]Address{from, to}, Reply: [2]Address{to, {host, 4000}}}
	}
	flows := flowsOf([]Entry{made(1, 10*second, 20*second), made(2, 30*second, 0)}, nil)
	for at, want := range map[int64]uint64{5: 0, 15: 1, 25: 0, 35: 2, 99: 2} {
		got := uint64(0)
		if f := flowAt(flows, tuple{udp, from, to, 0}, at*second); f.entry != nil {
			got = f.entry.ID
		}
		if got != want {
			t.Errorf("at %d s: entry %d, want %d", at, got, want)
		}
	}
	var all []Entry
	all = append(all, made(7, second, 0), made(7, 2*second, 0)) // ids are used again
	endOf(all, 7, 3*second)
	endOf(all, 8, 4*second)
	if all[0].Ended != 0 || all[1].Ended != 3*second {
		t.Errorf("ended %d and %d", all[0].Ended, all[1].Ended)
	}
}

// conntrack(8) may have to wait for a processor before it tells of a flow; a SYN that was
// dropped a second before is not of it.
func TestFlowAtOfLateEvent(t *testing.T) {
	const begin = int64(1e18)
	at := func(ms int) int64 { return begin + int64(ms)*int64(time.Millisecond) }
	from, to := Address{back, 38000}, Address{world, 80}
	k := tuple{tcp, from, to, 0}
	told := Entry{ID: 1, Time: at(1850), Protocol: "tcp", Original: [2]Address{from, to}, Reply: [2]Address{to, {host, 38000}}}
	flows := flowsOf([]Entry{told}, []Sighting{{Time: at(0), Protocol: tcp, whole: k}, {Time: at(1000), Protocol: tcp, whole: k}})
	for ms, want := range map[int]bool{0: false, 1000: true, 1900: true} {
		if f := flowAt(flows, k, at(ms)); (f.entry != nil) != want {
			t.Errorf("at %d ms: %+v, want an entry: %v", ms, f.entry, want)
		}
	}
}

// A tracker knows which connection's entry is gone.
func TestTrackerKnowsWhatEnded(t *testing.T) {
	c := &Tracker{out: &Buffer{}}
	for _, line := range []string{
		"[1700000000.000001\t]\t    [NEW] tcp      6 120 SYN_SENT src=172.17.0.2 dst=198.51.100.7 sport=40001 dport=8000 [UNREPLIED] src=198.51.100.7 dst=192.0.2.10 sport=8000 dport=40001 id=1\n",
		"[1700000000.000002\t]\t[DESTROY] tcp      6 src=172.17.0.2 dst=198.51.100.7 sport=40000 dport=8000 src=198.51.100.7 dst=192.0.2.10 sport=8000 dport=40002 id=2\n",
	} {
		_, _ = c.out.Write([]byte(line))
	}
	for port, want := range map[uint16]bool{40000: true, 40001: false, 40002: false, 4000: false, 8000: false} {
		if got := c.Ended("tcp", port); got != want {
			t.Errorf("port %d: %v, want %v", port, got, want)
		}
	}
	if c.Ended("udp", 40000) {
		t.Error("a datagram's entry is said to be gone")
	}
}

// A port that one flow leaves and another takes at once is told apart by when the
// other's first packet set out, though conntrack(8) tells late of both.
func TestFlowAtOfPortTakenOver(t *testing.T) {
	const begin = int64(1e18)
	at := func(ms int) int64 { return begin + int64(ms)*int64(time.Millisecond) }
	front, to, port := "172.17.0.3", Address{world, 80}, Address{host, 40000}
	entry := func(id uint64, ip string, told, ended int64) Entry {
		return Entry{ID: id, Time: told, Ended: ended, Protocol: "tcp", Original: [2]Address{{ip, 38000}, to}, Reply: [2]Address{to, port}}
	}
	set := func(ip string, when int64) Sighting {
		return Sighting{Time: when, Protocol: tcp, whole: tuple{tcp, Address{ip, 38000}, to, 0}}
	}
	flows := flowsOf([]Entry{entry(1, back, at(2), at(35)), entry(2, front, at(36), 0)},
		[]Sighting{set(back, at(0)), set(back, at(10)), set(front, at(30)), set(front, at(40))})
	for ms, want := range map[int]uint64{1: 1, 11: 1, 29: 1, 31: 2, 41: 2} {
		for _, k := range []tuple{{tcp, port, to, 0}, {tcp, to, port, 0}} {
			if f := flowAt(flows, k, at(ms)); f.entry == nil || f.entry.ID != want {
				t.Errorf("%v at %d ms: %+v, want entry %d", k, ms, f.entry, want)
			}
		}
	}
}

// What a host sends by a port that a container's flow has leaves by another, so that
// what is recorded by that port is the container's.
func TestFlowAtOfHostsOwn(t *testing.T) {
	const begin = int64(1e18)
	to, port, other := Address{world, 53}, Address{host, 4000}, Address{host, 1024}
	masqueraded := Entry{ID: 1, Time: begin, Protocol: "udp", Original: [2]Address{{back, 4000}, to}, Reply: [2]Address{to, port}}
	own := Entry{ID: 2, Time: begin + 1e9, Protocol: "udp", Original: [2]Address{port, to}, Reply: [2]Address{to, other}}
	flows := flowsOf([]Entry{masqueraded, own}, nil)
	for k, want := range map[tuple]uint64{
		{udp, port, to, 0}: 1, {udp, to, port, 0}: 1,
		{udp, other, to, 0}: 2, {udp, to, other, 0}: 2,
	} {
		if f := flowAt(flows, k, begin+2e9); f.entry == nil || f.entry.ID != want {
			t.Errorf("%v: %+v, want entry %d", k, f.entry, want)
		}
	}
}
