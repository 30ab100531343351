//go:build !linux

package netinfo

// SocketHolders needs Linux; elsewhere no holder is known.
func SocketHolders([]uint64) map[uint64]string { return nil }
