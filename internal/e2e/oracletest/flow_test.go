package oracletest

import "testing"

// A tuple belongs to the entry that has it at that time; to none when that is gone.
func TestFlowAt(t *testing.T) {
	const second = int64(1e9)
	from, to := Address{back, 4000}, Address{world, 53}
	made := func(id uint64, at, ended int64) Entry {
		return Entry{ID: id, Time: at, Ended: ended, Protocol: "udp", Original: [2]Address{from, to}, Reply: [2]Address{to, {host, 4000}}}
	}
	flows := flowsOf([]Entry{made(1, 10*second, 20*second), made(2, 30*second, 0)})
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
