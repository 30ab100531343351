package filter

import (
	"flag"
	"os"
	"testing"

	"natlens/internal/lab/labtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Fuzzing needs no lab, and its workers talk by descriptors that a lab does
	// not hand on.
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	os.Exit(labtest.Main(m))
}
