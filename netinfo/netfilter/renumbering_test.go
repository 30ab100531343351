package netfilter

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// A SYN proxy's number, as the kernel told of it, in what an event says of a flow.
func TestDecodeRenumbering(t *testing.T) {
	var f Flow
	if _, ok := decodeFlow(bytesOf(t, pingMessage+`
	1c00 1080                           # CTA_SEQ_ADJ_REPLY, nested
	  0800 0100 00000005                #   CTA_SEQADJ_CORRECTION_POS
	  0800 0200 fffffffe                #   CTA_SEQADJ_OFFSET_BEFORE: -2
	  0800 0300 3e0c5c0f                #   CTA_SEQADJ_OFFSET_AFTER
`), &f); !ok {
		t.Fatal("not decoded")
	}
	if want := (Renumbering{Position: 5, Before: -2, After: 1040997391}); f.Renumberings != [2]Renumbering{1: want} || !f.Renumbers() {
		t.Errorf("%+v, want %+v for the reply", f.Renumberings, want)
	}
	if _, ok := decodeFlow(bytesOf(t, pingMessage+"0c00 0f80 0700 0100 000000 00"), &Flow{}); ok {
		t.Error("a position of three bytes is taken")
	}
}

// Events between two that tell of numbers leave them as they are.
func TestCompleteFlow(t *testing.T) {
	told := Flow{Status: SeqAdjust, Renumberings: [2]Renumbering{{1, 2, 3}, {}}}
	for _, c := range []struct {
		next Flow
		want [2]Renumbering
	}{
		{Flow{Status: SeqAdjust}, told.Renumberings},
		{Flow{}, [2]Renumbering{}},
		{Flow{Status: SeqAdjust, Renumberings: [2]Renumbering{{4, 5, 6}, {}}}, [2]Renumbering{{4, 5, 6}, {}}},
	} {
		next := c.next
		if next.Complete(&told); next.Renumberings != c.want {
			t.Errorf("%+v becomes %+v, want %+v", c.next, next.Renumberings, c.want)
		}
	}
}

// adjusted is nf_ct_seq_adjust (net/netfilter/nf_conntrack_seqadj.c).
func adjusted(own, other Renumbering, n Numbers) Numbers {
	after := func(a, b uint32) bool { return int32(a-b) > 0 }
	add, take := own.Before, other.Before
	if after(n.Sequence, own.Position) {
		add = own.After
	}
	if after(n.Acknowledged-uint32(other.Before), other.Position) {
		take = other.After
	}
	return Numbers{n.Sequence + uint32(add), n.Acknowledged - uint32(take)}
}

func TestSentIsWhatTheKernelChanged(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	number := func() Renumbering {
		r := Renumbering{Position: random.Uint32()}
		switch random.IntN(3) {
		case 0: // a SYN proxy
			r.Before = int32(random.Uint32())
			r.After = r.Before
		case 1: // a helper
			r.Before = int32(random.IntN(40) - 20)
			r.After = r.Before + int32(random.IntN(40)-20)
		}
		return r
	}
	near := func(at uint32) uint32 { return at + uint32(random.IntN(200)-100) }
	for range 10_000 {
		f := Flow{Renumberings: [2]Renumbering{number(), number()}}
		for _, reply := range []bool{false, true} {
			own, other := f.Renumberings[0], f.Renumberings[1]
			if reply {
				own, other = other, own
			}
			was := Numbers{near(own.Position), near(other.Position)}
			behind := adjusted(own, other, was)
			all := f.Sent(reply, behind)
			if !slices.Contains(all, was) {
				t.Fatalf("%+v of %+v: %+v lacks %+v", behind, f.Renumberings, all, was)
			}
			if got := adjusted(own, other, all[0]); got != behind {
				t.Fatalf("%+v of %+v: the likeliest, %+v, would become %+v", behind, f.Renumberings, all[0], got)
			}
		}
	}
}
