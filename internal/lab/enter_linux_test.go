package lab

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReportArrivesAsError(t *testing.T) {
	// What AppArmor does to an ordinary user's new namespaces.
	err := parseReport(reportOf(fmt.Errorf("set lo up: %w", unix.EPERM)))
	if !errors.Is(err, ErrForbidden) || err.Error() != ErrForbidden.Error()+": set lo up: operation not permitted" {
		t.Errorf("refused: %v", err)
	}
	err = parseReport(reportOf(fmt.Errorf("mount /run: %w", unix.ENOENT)))
	if errors.Is(err, ErrForbidden) || err == nil {
		t.Errorf("failed: %v, want an error that is not ErrForbidden", err)
	}
	for _, word := range []string{reportReady, ""} {
		if err := parseReport(word); err != nil {
			t.Errorf("%q: %v", word, err)
		}
	}
}

func TestIdentityKnowsItsParents(t *testing.T) {
	own, err := ownIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for parent, apart := range map[string]bool{
		own.String(): false,
		identity{net: own.net + 1, mount: own.mount + 1}.String(): true,
		identity{net: own.net + 1, mount: own.mount}.String():     false,
		identity{net: own.net, mount: own.mount + 1}.String():     false,
		"1":       false,
		"nothing": false,
	} {
		if got := own.apartFrom(parent); got != apart {
			t.Errorf("apart from %q: %v, want %v", parent, got, apart)
		}
	}
}

// A process that merely inherited the variable must not touch its mounts.
func TestEnterRefusesTheParentsNamespaces(t *testing.T) {
	defer func(was bool) { entered = was }(entered)
	entered = false
	own, err := ownIdentity()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(marker, own.String())
	if !Inside() {
		t.Error("the variable does not count")
	}
	if err := Enter(); err == nil {
		t.Error("Enter went on")
	}
	if v, ok := os.LookupEnv(marker); ok {
		t.Errorf("the variable is still %s for children to inherit", v)
	}
	if err := Enter(); err == nil {
		t.Error("Enter without the variable went on")
	}
	if h, err := New(); err == nil {
		h.Close()
		t.Error("New built a host outside a lab")
	}
}

func TestEngineVariablesAreDropped(t *testing.T) {
	got := withoutEngine([]string{"HOME=/root", "DOCKER_HOST=tcp://x", "DOCKER_HOSTS=y", "CONTAINER_HOST=z", marker + "=1:2"})
	if want := []string{"HOME=/root", "DOCKER_HOSTS=y"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
}

func TestChecksum(t *testing.T) {
	// RFC 1071, section 3, has the sum ddf2 of these bytes.
	sum := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := checksum(sum); got != ^uint16(0xddf2) {
		t.Errorf("checksum %04x, want %04x", got, ^uint16(0xddf2))
	}
	// A message with its checksum in place sums to nothing, odd ones too.
	if got := checksum(Echo{ID: 3, Seq: 4, Payload: []byte("odd")}.message(echoRequest)); got != 0 {
		t.Errorf("checksum over a whole message %04x, want 0", got)
	}
}
