package trace

import (
	"testing"

	"natlens/capture/packet"
	"natlens/netinfo/netfilter"
)

// seconds makes times that are far enough apart to be told from each other.
const seconds = int64(1e9)

func flowOf(id uint32, after uint16) netfilter.Flow {
	return netfilter.Flow{ID: id, Original: packet.NewTuple(packet.TCP, backIP, internetIP, 4000, 80),
		Reply: packet.NewTuple(packet.TCP, internetIP, hostIP, 80, after)}
}

func (x *flowIndex) tell(kind netfilter.EventKind, f netfilter.Flow, at int64) {
	x.apply(&netfilter.Event{Kind: kind, Flow: f, After: at - 1e6, Before: at})
}

// One tuple belongs to several flows, one after the other: the time of the packet
// tells which.
func TestFlowOfTheTime(t *testing.T) {
	x := newFlowIndex()
	first, second := flowOf(1, 5001), flowOf(2, 5002)
	x.tell(netfilter.New, first, 100*seconds)
	x.tell(netfilter.Destroy, first, 110*seconds)
	x.tell(netfilter.New, second, 120*seconds)
	for at, want := range map[int64]uint32{
		105 * seconds: 1,
		115 * seconds: 2, // it begins the next one, of which the kernel tells later
		121 * seconds: 2,
	} {
		if r := x.find(&first.Original, at); r.flow == nil || r.flow.ID != want {
			t.Errorf("at %d s: %+v, want flow %d", at/seconds, r.flow, want)
		}
	}
}

// What comes when a flow has died is not of it, though an older one may have the tuple,
// too.
func TestFlowThatHadDied(t *testing.T) {
	x := newFlowIndex()
	first := flowOf(1, 5001)
	other := netfilter.Flow{ID: 2, Original: packet.NewTuple(packet.TCP, hostIP, internetIP, 5001, 80), Reply: first.Reply}
	x.tell(netfilter.New, other, 90*seconds)
	x.tell(netfilter.New, first, 100*seconds)
	x.tell(netfilter.Destroy, first, 110*seconds)
	after := first.Reply.Inverse()
	for _, c := range []struct {
		tuple *packet.Tuple
		at    int64
		want  uint32
	}{
		{&first.Original, 109 * seconds, 1},
		{&first.Original, 110 * seconds, 1},
		{&first.Original, 111 * seconds, 0},
		{&after, 111 * seconds, 2},
	} {
		var got uint32
		if r := x.find(c.tuple, c.at); r.flow != nil {
			got = r.flow.ID
		}
		if got != c.want {
			t.Errorf("%s at %d s: flow %d, want %d", c.tuple, c.at/seconds, got, c.want)
		}
	}
}

// A dump names every flow that lives. What it does not name has gone unheard.
func TestFlowThatADumpDoesNotName(t *testing.T) {
	x := newFlowIndex()
	gone, there := flowOf(1, 5001), netfilter.Flow{ID: 2, Original: echoTuple(backIP, internetIP, 7, false), Reply: echoTuple(internetIP, hostIP, 7, true)}
	x.tell(netfilter.New, gone, 100*seconds)
	x.tell(netfilter.New, there, 100*seconds)
	x.tell(netfilter.Known, there, 120*seconds)
	x.synced(119*seconds, 121*seconds)
	if r := x.find(&gone.Original, 105*seconds); r.flow == nil || r.flow.died != 121*seconds {
		t.Errorf("what the dump did not name: %+v", r.flow)
	}
	if r := x.find(&there.Original, 105*seconds); r.flow == nil || r.flow.died != 0 {
		t.Errorf("what it named: %+v", r.flow)
	}
}

// The kernel gives an id again; that the first flow ended was lost.
func TestFlowIDThatIsReused(t *testing.T) {
	x := newFlowIndex()
	first, second := flowOf(1, 5001), flowOf(1, 5002)
	x.tell(netfilter.New, first, 100*seconds)
	x.tell(netfilter.New, second, 120*seconds)
	reply := second.Reply
	if r := x.find(&reply, 121*seconds); r.flow == nil || r.flow.Reply != second.Reply || !r.reply {
		t.Errorf("the second one's reply: %+v", r.flow)
	}
	reply = first.Reply
	if r := x.find(&reply, 105*seconds); r.flow == nil || r.flow.Reply != first.Reply || r.flow.died == 0 {
		t.Errorf("the first one's reply: %+v", r.flow)
	}
}

// Only the end of a flow was heard of: packets of the last moments belong to it.
func TestFlowOfWhichOnlyTheEndIsTold(t *testing.T) {
	x := newFlowIndex()
	f := flowOf(1, 5001)
	x.tell(netfilter.Destroy, f, 100*seconds)
	if r := x.find(&f.Original, 99*seconds); r.flow == nil || r.flow.died != 100*seconds {
		t.Errorf("%+v", r.flow)
	}
}

// docker-proxy dials when it has accepted, and for whoever is still there and has no
// answer.
func TestProxyDialsAfterItAccepted(t *testing.T) {
	const ready = 100 * seconds
	for name, c := range map[string]struct {
		client proxyConn
		began  int64
		want   bool
	}{
		"at once":                  {proxyConn{ready: ready}, ready + 1e6, true},
		"stamps in another order":  {proxyConn{ready: ready}, ready - stampSlack/2, true},
		"before the handshake":     {proxyConn{}, ready, false},
		"before it accepted":       {proxyConn{ready: ready}, ready - 1e6, false},
		"long after":               {proxyConn{ready: ready}, ready + 2*dialPatience, false},
		"when the client had gone": {proxyConn{ready: ready, ended: ready + 1e6}, ready + 2e6, false},
		"when it was answered":     {proxyConn{ready: ready, answered: ready + 1e6}, ready + 2e6, false},
		"before the answer":        {proxyConn{ready: ready, answered: ready + 3e6}, ready + 2e6, true},
	} {
		inner := proxyConn{inner: true, began: c.began}
		if got := inner.follows(&c.client); got != c.want {
			t.Errorf("dialled %s: %v, want %v", name, got, c.want)
		}
	}
}

// Datagrams that are passed on have the same length, also where no more of them than
// their beginning is captured.
func TestProxyPassesOnWholeDatagrams(t *testing.T) {
	const ready = 100 * seconds
	datagram := func(length uint32) [2]halfConn {
		return [2]halfConn{{prefix: []byte("the beginning"), whole: true, length: length}}
	}
	tuple := packet.NewTuple(packet.UDP, gatewayIP, backIP, 5, 80)
	client := proxyConn{ready: ready, half: datagram(500)}
	for length, want := range map[uint32]bool{500: true, 501: false} {
		inner := proxyConn{inner: true, tuple: tuple, began: ready + 1e6, half: datagram(length)}
		if can, _ := inner.fits(&client); can != want {
			t.Errorf("a datagram of %d for one of 500: %v", length, can)
		}
	}
}

// While some connections are not followed, what fits only one of the others need not
// be its partner.
func TestProxyPairsNothingWhileItIsBlind(t *testing.T) {
	const ready = 100 * seconds
	for blind, want := range map[int64]bool{0: true, ready + seconds: false} {
		p := &pool{blind: blind}
		client := &proxyConn{pool: p, ready: ready}
		inner := &proxyConn{pool: p, inner: true, began: ready + 1e6}
		p.unpaired = []*proxyConn{client, inner}
		p.pair()
		if got := inner.mate == client; got != want {
			t.Errorf("blind until %d: paired is %v, want %v", blind, got, want)
		}
	}
}
