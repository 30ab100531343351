//go:build !linux

package main

import "errors"

func missingCapabilities([]string) ([]string, error) {
	return nil, &notPermitted{err: errors.New("this needs Linux")}
}
