package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestMissingCapabilities compares with the bits that the kernel shows in
// /proc/self/status.
func TestMissingCapabilities(t *testing.T) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var effective uint64
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "CapEff:\t"); ok {
			if effective, err = strconv.ParseUint(value, 16, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, bit := range map[string]uint{capNetAdmin: 12, capNetRaw: 13, capSysAdmin: 21} { // linux/capability.h
		missing, err := missingCapabilities([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if has := effective&(1<<bit) != 0; has == (len(missing) == 1) {
			t.Errorf("%s: missing %v, but CapEff is %#x", name, missing, effective)
		}
	}
	if _, err := missingCapabilities([]string{"CAP_NONE"}); err == nil {
		t.Error("a capability that does not exist was not refused")
	}
}
