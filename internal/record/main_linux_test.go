package record_test

import (
	"os"
	"testing"

	"natlens/internal/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
