package packet

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// Messages of group membership as hosts and routers send them, from the IP header on.
func TestMemberships(t *testing.T) {
	const (
		// TTL 1, option router alert (RFC 2113).
		ip4 = "46c00028 00004000 01020000 ac110002 e0000016 94040000"
		// Hop limit 1, hop-by-hop options: router alert for MLD (RFC 2711), PadN.
		ip6 = "60000000 004c0001 fe80000000000000 0042acfffe110002 ff020000000000000000000000000016 3a00 0502 0000 0100"
	)
	for name, c := range map[string]struct {
		frame string
		kind  MembershipKind
		says  string
	}{
		"IGMPv3 joins":        {ip4 + "22000000 00000001 04000000 e00000fb", MembershipReport, "224.0.0.251"},
		"IGMPv3 leaves":       {ip4 + "22000000 00000001 03000000 e00000fb", MembershipReport, "left 224.0.0.251"},
		"IGMPv3 two":          {ip4 + "22000000 00000002 02000000 e00000fb 06000001 e00000fc c0000201", MembershipReport, "224.0.0.251"},
		"IGMPv3 from one":     {ip4 + "22000000 00000001 03000001 e80000fb c0000201", MembershipReport, "232.0.0.251"},
		"IGMPv3 cut off":      {ip4 + "22000000 00000002 04000000 e00000fb 0400", MembershipReport, "224.0.0.251"},
		"IGMPv3 with options": {ip4 + "22000000 00000002 04010000 e00000fb 01020304 04000000 e00000fc", MembershipReport, "224.0.0.251 224.0.0.252"},
		"IGMPv2 report":       {ip4 + "16000000 e00000fb", MembershipReport, "224.0.0.251"},
		"IGMPv2 leave":        {ip4 + "17000000 e00000fb", MembershipLeave, "left 224.0.0.251"},
		"IGMP query":          {ip4 + "11640000 00000000", MembershipQuery, ""},
		"IGMP query for one":  {ip4 + "110a0000 e00000fb", MembershipQuery, "224.0.0.251"},
		"IGMP, another":       {ip4 + "30000000 00000000", MembershipOther, ""},
		"IGMP, nothing in it": {ip4, MembershipOther, ""},
		"MLDv2": {ip6 + "8f000000 00000002 04000000 ff0200000000000000000001ff110002 03000000 ff0200000000000000000000000000fb",
			MembershipReport, "ff02::1:ff11:2 left ff02::fb"},
		"MLDv1":     {ip6 + "83000000 00000000 ff0200000000000000000000000000fb", MembershipReport, "ff02::fb"},
		"MLD done":  {ip6 + "84000000 00000000 ff0200000000000000000000000000fb", MembershipLeave, "left ff02::fb"},
		"MLD query": {ip6 + "82000000 27100000 00000000000000000000000000000000", MembershipQuery, ""},
		"an echo":   {ip6 + "80000000 00010001", NoMembership, ""},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(c.frame, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if data[0]>>4 == 4 {
				data[2], data[3] = 0, byte(len(data))
			} else {
				data[4], data[5] = 0, byte(len(data)-40)
			}
			var h Headers
			h.Parse(RawIP, data, uint32(len(data)))
			var says []string
			for _, m := range h.Memberships(data) {
				says = append(says, strings.TrimPrefix(fmt.Sprint(map[bool]string{true: "left "}[m.Left], m.Group), " "))
			}
			if kind := h.Membership(data); kind != c.kind || strings.Join(says, " ") != c.says {
				t.Errorf("kind %d, %q; want %d, %q", kind, says, c.kind, c.says)
			}
		})
	}
}
