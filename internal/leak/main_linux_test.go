package leak

import (
	"os"
	"runtime"
	"testing"

	"natlens/internal/lab/labtest"
)

// The tests' goroutines stay off the first thread; see strayThreads.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }
