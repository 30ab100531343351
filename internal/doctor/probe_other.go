//go:build !linux

package doctor

import "natlens/netinfo"

// Probe finds nothing where there is no Linux; read works everywhere.
func Probe(t *netinfo.Topology, scanErr error) Host { return Host{Topology: t, ScanErr: scanErr} }
