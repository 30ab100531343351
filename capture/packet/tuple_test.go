package packet

import (
	"net/netip"
	"testing"
)

func TestTupleInverse(t *testing.T) {
	a, b := addr("10.0.0.1"), addr("10.0.0.2")
	c, d := addr("fd00::1"), addr("fd00::2")
	for _, tt := range []struct {
		tuple, want Tuple
	}{
		{NewTuple(TCP, a, b, 4711, 80), NewTuple(TCP, b, a, 80, 4711)},
		{NewTuple(UDP, c, d, 4711, 53), NewTuple(UDP, d, c, 53, 4711)},
		{NewTuple(SCTP, a, b, 1, 2), NewTuple(SCTP, b, a, 2, 1)},
		{NewTuple(47, a, b, 0, 0), NewTuple(47, b, a, 0, 0)},
		{NewTuple(ICMP, a, b, 7, 8<<8), NewTuple(ICMP, b, a, 7, 0)},
		{NewTuple(ICMP, a, b, 7, 13<<8), NewTuple(ICMP, b, a, 7, 14<<8)},
		{NewTuple(ICMP, a, b, 0, 3<<8|3), NewTuple(ICMP, b, a, 0, 3<<8|3)},
		{NewTuple(ICMPv6, c, d, 7, 128<<8), NewTuple(ICMPv6, d, c, 7, 129<<8)},
		{NewTuple(ICMPv6, c, d, 0, 135<<8), NewTuple(ICMPv6, d, c, 0, 135<<8)},
	} {
		if got := tt.tuple.Inverse(); got != tt.want {
			t.Errorf("inverse of %v: %v, want %v", tt.tuple, got, tt.want)
		}
		if got := tt.tuple.Inverse().Inverse(); got != tt.tuple {
			t.Errorf("inverse of the inverse of %v: %v", tt.tuple, got)
		}
	}
}

func FuzzTupleInverse(f *testing.F) {
	f.Add(uint8(1), uint16(7), uint16(8<<8))
	f.Add(uint8(6), uint16(4711), uint16(80))
	f.Fuzz(func(t *testing.T, protocol uint8, source, destination uint16) {
		tuple := NewTuple(Protocol(protocol), addr("10.0.0.1"), addr("10.0.0.2"), source, destination)
		if got := tuple.Inverse().Inverse(); got != tuple {
			t.Errorf("inverse of the inverse of %v: %v", tuple, got)
		}
	})
}

func TestTupleHalf(t *testing.T) {
	before := NewTuple(TCP, addr("172.17.0.2"), addr("192.0.2.10"), 4711, 8080)
	after := NewTuple(TCP, addr("172.17.0.1"), addr("172.17.0.3"), 61000, 80)
	want := NewTuple(TCP, addr("172.17.0.2"), addr("172.17.0.3"), 4711, 80)
	if got := before.Half(after); got != want {
		t.Errorf("half = %v, want %v", got, want)
	}
}

func TestTupleString(t *testing.T) {
	for _, tt := range []struct {
		tuple Tuple
		want  string
	}{
		{NewTuple(TCP, addr("172.17.0.2"), addr("198.51.100.7"), 4711, 80), "tcp 172.17.0.2:4711 > 198.51.100.7:80"},
		{NewTuple(UDP, addr("fd00::1"), addr("fd00::2"), 1, 53), "udp [fd00::1]:1 > [fd00::2]:53"},
		{NewTuple(ICMP, addr("172.17.0.2"), addr("198.51.100.7"), 7, 8<<8), "icmp 172.17.0.2 > 198.51.100.7"},
		{NewTuple(ICMPv6, addr("fd00::1"), addr("fd00::2"), 7, 128<<8), "icmp6 fd00::1 > fd00::2"},
		{NewTuple(47, addr("10.0.0.1"), addr("10.0.0.2"), 0, 0), "47 10.0.0.1 > 10.0.0.2"},
		{Tuple{}, "no tuple"},
	} {
		if got := tt.tuple.String(); got != tt.want {
			t.Errorf("String = %q, want %q", got, tt.want)
		}
	}
}

func TestTupleAddresses(t *testing.T) {
	for _, tt := range []struct {
		source, destination string
		want4               bool
	}{
		{"10.0.0.1", "10.0.0.2", true},
		{"fd00::1", "fd00::2", false},
		{"::1", "::1", false},
		{"::", "ff02::1", false},
	} {
		tuple := NewTuple(UDP, addr(tt.source), addr(tt.destination), 1, 2)
		if tuple.Source() != addr(tt.source) || tuple.Destination() != addr(tt.destination) {
			t.Errorf("%s, %s came back as %v, %v", tt.source, tt.destination, tuple.Source(), tuple.Destination())
		}
		if tuple.Is4() != tt.want4 {
			t.Errorf("%s: Is4 = %t", tt.source, tuple.Is4())
		}
	}
	plain := NewTuple(UDP, addr("10.0.0.1"), addr("10.0.0.2"), 1, 2)
	if mapped := NewTuple(UDP, addr("::ffff:10.0.0.1"), addr("::ffff:10.0.0.2"), 1, 2); mapped != plain {
		t.Errorf("v4-mapped %v differs from %v", mapped, plain)
	}
	if zoned := NewTuple(UDP, addr("fe80::1%eth0"), addr("fe80::2"), 1, 2); zoned.Source() != addr("fe80::1") {
		t.Errorf("zone is kept: %v", zoned.Source())
	}
	var zero Tuple
	if zero.Valid() || zero.Source() != (netip.Addr{}) || zero.Destination().IsValid() {
		t.Errorf("the zero tuple is %v", zero)
	}
}
