package capture

import (
	"slices"
	"testing"

	"golang.org/x/net/bpf"

	"natlens/capture/packet"
)

// runFilter runs a program as the kernel would on a link of a type. The emulator
// lacks the kernel's extensions but for the length; they become constants.
func runFilter(t *testing.T, program []bpf.Instruction, hatype uint32, etherType uint32, frame []byte) int {
	t.Helper()
	if _, err := bpf.Assemble(program); err != nil {
		t.Fatalf("the program can't be assembled: %v", err)
	}
	emulated := slices.Clone(program)
	for i, in := range emulated {
		if load, ok := in.(bpf.LoadExtension); ok {
			switch load.Num {
			case bpf.ExtLinkLayerType:
				emulated[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: hatype}
			case bpf.ExtProto:
				emulated[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: etherType}
			}
		}
	}
	vm, err := bpf.NewVM(emulated)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

func ipv6(next byte, payload ...byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[5], b[6], b[7] = 0x60, byte(len(payload)), next, 64
	return append(b, payload...)
}

func withEthernet(etherType uint16, payload []byte) []byte {
	b := make([]byte, 14, 14+len(payload))
	b[12], b[13] = byte(etherType>>8), byte(etherType)
	return append(b, payload...)
}

func TestFilter(t *testing.T) {
	udp4, icmp6Echo := ipv4UDP(nil), ipv6(58, 128, 0, 0, 0)
	tests := []struct {
		name      string
		hatype    uint32
		etherType uint16
		packet    []byte // from the network header on
		protocols []packet.Protocol
		pass      bool
	}{
		{"everything when nothing is chosen", arphrdEther, 0x0800, udp4, nil, true},
		{"the protocol chosen", arphrdEther, 0x0800, udp4, []packet.Protocol{packet.TCP, packet.UDP}, true},
		{"another protocol", arphrdEther, 0x0800, udp4, []packet.Protocol{packet.TCP, packet.ICMP}, false},
		{"no protocol at all", arphrdEther, 0x0800, udp4, []packet.Protocol{}, false},
		{"on loopback", arphrdLoopback, 0x0800, udp4, []packet.Protocol{packet.UDP}, true},
		{"another on loopback", arphrdLoopback, 0x0800, udp4, []packet.Protocol{packet.TCP}, false},
		{"on a tunnel", arphrdNone, 0x0800, udp4, []packet.Protocol{packet.UDP}, true},
		{"another on a tunnel", arphrdNone, 0x0800, udp4, []packet.Protocol{packet.TCP}, false},
		{"another on sit", arphrdSIT, 0x0800, udp4, []packet.Protocol{packet.TCP}, false},
		{"another on a raw link", arphrdRawIP, 0x0800, udp4, []packet.Protocol{packet.TCP}, false},
		{"IPv6 on a tunnel", arphrdTunnel6, 0x86dd, icmp6Echo, []packet.Protocol{packet.ICMPv6}, true},
		{"another, IPv6 on a tunnel", arphrdTunnel, 0x86dd, icmp6Echo, []packet.Protocol{packet.TCP}, false},
		{"an unknown link", 778, 0x0800, udp4, []packet.Protocol{packet.TCP}, true},
		{"ARP", arphrdEther, 0x0806, make([]byte, 28), []packet.Protocol{packet.TCP}, true},
		{"a tag in the bytes", arphrdEther, 0x8100, udp4, []packet.Protocol{packet.TCP}, true},
		{"two tags in the bytes", arphrdEther, 0x88a8, udp4, []packet.Protocol{packet.TCP}, true},
		{"echo over IPv6", arphrdEther, 0x86dd, icmp6Echo, []packet.Protocol{packet.ICMPv6}, true},
		{"echo over IPv6, not chosen", arphrdEther, 0x86dd, icmp6Echo, []packet.Protocol{packet.UDP}, false},
		{"neighbour solicitation", arphrdEther, 0x86dd, ipv6(58, 135, 0, 0, 0), []packet.Protocol{packet.UDP}, true},
		{"redirect", arphrdEther, 0x86dd, ipv6(58, 137, 0, 0, 0), []packet.Protocol{packet.UDP}, true},
		{"multicast listener report", arphrdEther, 0x86dd, ipv6(58, 132, 0, 0, 0), []packet.Protocol{packet.UDP}, false},
		{"node information", arphrdEther, 0x86dd, ipv6(58, 139, 0, 0, 0), []packet.Protocol{packet.UDP}, false},
		{"IPv6 fragment", arphrdEther, 0x86dd, ipv6(44, 58, 0, 0, 0), []packet.Protocol{packet.UDP}, true},
		{"hop-by-hop options", arphrdEther, 0x86dd, ipv6(0, 58, 0, 0, 0), []packet.Protocol{packet.UDP}, true},
		{"IPv4 that ends before its protocol", arphrdEther, 0x0800, udp4[:9], []packet.Protocol{packet.TCP}, true},
		{"IPv6 that ends before its payload", arphrdEther, 0x86dd, ipv6(17), []packet.Protocol{packet.TCP}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			frame := test.packet
			if test.hatype == arphrdEther || test.hatype == arphrdLoopback {
				frame = withEthernet(test.etherType, test.packet)
			}
			want := 0
			if test.pass {
				want = min(99, len(frame)) // the emulator cuts to the frame
			}
			kept := runFilter(t, filterProgram(test.protocols, 99), test.hatype, uint32(test.etherType), frame)
			if min(kept, len(frame)) != want {
				t.Errorf("keeps %d bytes, want %d", kept, want)
			}
		})
	}
	t.Run("a frame shorter than its header", func(t *testing.T) {
		if runFilter(t, filterProgram([]packet.Protocol{packet.TCP}, 99), arphrdEther, 0, make([]byte, 13)) == 0 {
			t.Error("rejected")
		}
	})
}

// However many protocols are wanted, the jumps reach and the program is right.
// It is longest when half of them are. IGMP always passes.
func TestFilterOfManyProtocols(t *testing.T) {
	for name, wanted := range map[string]func(p int) bool{
		"every protocol but one": func(p int) bool { return p != int(packet.UDP) },
		"half of them":           func(p int) bool { return p%2 == 0 },
		"more than half":         func(p int) bool { return p%2 == 0 || p == int(packet.UDP) },
		"one":                    func(p int) bool { return p == int(packet.UDP) },
	} {
		var list []packet.Protocol
		for p := range 256 {
			if wanted(p) {
				list = append(list, packet.Protocol(p), packet.Protocol(p))
			}
		}
		program := filterProgram(list, 128)
		if len(program) > 4096 {
			t.Errorf("%s: %d instructions: the kernel takes 4096 (BPF_MAXINSNS)", name, len(program))
		}
		for _, hatype := range []uint32{arphrdEther, arphrdNone} {
			for p := range 256 {
				frame := ipv4UDP(nil)
				frame[9] = byte(p)
				if hatype == arphrdEther {
					frame = withEthernet(0x0800, frame)
				}
				if pass := runFilter(t, program, hatype, 0x0800, frame) > 0; pass != (wanted(p) || p == int(packet.IGMP)) {
					t.Errorf("%s: link type %d, protocol %d: passes %v", name, hatype, p, pass)
				}
			}
		}
	}
}
