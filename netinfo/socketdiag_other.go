//go:build !linux

package netinfo

import "errors"

// Holder needs Linux.
func Holder(Connection, []int) (int, error) { return 0, errors.ErrUnsupported }
