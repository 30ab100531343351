//go:build !linux

package netinfo

import (
	"errors"
	"fmt"

	"natlens/netinfo/netns"
)

// Listeners needs Linux.
func Listeners(n *Namespace, _ netns.ID) ([]Listener, error) {
	return nil, fmt.Errorf("sockets of %s: %w", n.Name, errors.ErrUnsupported)
}
