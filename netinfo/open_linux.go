package netinfo

import (
	"natlens/netinfo/netns"
)

// Open opens the namespace by the first of its paths that still leads to it.
// The caller owns the Handle; as long as it is open, the namespace and what is
// in it stay alive, so it should be closed soon after the namespace is gone
// from the Topology. The error matches os.ErrNotExist when the namespace has
// vanished and os.ErrPermission when this user may not open it.
func (n *Namespace) Open() (*netns.Handle, error) {
	return openAny(n.ID, n.Paths)
}
