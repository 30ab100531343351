package netinfo

// Options say what to look at.
type Options struct {
	// EngineHost is the engine's address as in DOCKER_HOST; empty means the
	// first that is found (see docker.Candidates).
	EngineHost string
	NoEngine   bool // ask no engine
}
