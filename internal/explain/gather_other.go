//go:build !linux

package explain

import "natlens/netinfo"

// Gather knows nothing but the Topology where there is no Linux.
func Gather(t *netinfo.Topology) *Facts { return &Facts{Topology: t} }
