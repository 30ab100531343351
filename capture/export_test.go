package capture

// For tests that import what imports this package.
var (
	FilterProgram = filterProgram
	RunFilter     = runFilter
)

const (
	ArphrdEther    = arphrdEther
	ArphrdLoopback = arphrdLoopback
	ArphrdNone     = arphrdNone
)
