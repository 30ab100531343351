// Package doctor finds out what this host and this user permit, and what that
// means for natlens's commands. It only reads: what it has to try out, it tries
// in a network namespace of its own. The kernel may load modules to answer, as
// it would for the commands themselves.
package doctor

// Status is the outcome of a Check.
type Status string

const (
	OK      Status = "ok"
	Limited Status = "limited" // works, but not all of it
	Missing Status = "missing"
)

// Check is one thing that was looked at.
type Check struct {
	Group  string // "privileges", "kernel", …
	Name   string
	Status Status
	Found  string // what is the case
	Means  string // what that means for which command; may be empty when OK
	// Blocks: as long as this is not OK, watch can't run.
	Blocks bool
}

// Report is all Checks, in the order in which a person reads them.
type Report []Check

// Blocking returns the checks that keep watch from running.
func (r Report) Blocking() []Check {
	var blocking []Check
	for _, c := range r {
		if c.Blocks && c.Status != OK {
			blocking = append(blocking, c)
		}
	}
	return blocking
}

// CanWatch reports whether watch can run.
func (r Report) CanWatch() bool { return len(r.Blocking()) == 0 }
