//go:build !linux

package netinfo

import (
	"context"
	"errors"
	"fmt"
)

// Scan looks at the host once. Network namespaces are Linux's: elsewhere the
// error matches errors.ErrUnsupported.
func Scan(context.Context, Options) (*Topology, error) {
	return nil, fmt.Errorf("scan host: this needs Linux: %w", errors.ErrUnsupported)
}
