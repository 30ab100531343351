package netinfo

import "time"

// Options say what to look at.
type Options struct {
	// EngineHost is the engine's address as in DOCKER_HOST; empty means the
	// first that is found (see docker.Candidates).
	EngineHost string
	NoEngine   bool // ask no engine, and look for none
	// Patience, unless zero, is for who can't wait: the engine has so long to
	// answer, and what takes long, the search for namespaces that only open
	// descriptors keep alive, is left out. Scan alone heeds it.
	Patience time.Duration
}
