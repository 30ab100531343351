package main

import (
	"fmt"
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// missingCapabilities returns those of the named capabilities that are not in
// the effective set of this process.
func missingCapabilities(names []string) ([]string, error) {
	held, err := cap.GetPID(0)
	if err != nil {
		return nil, fmt.Errorf("read capabilities: %w", err)
	}
	var missing []string
	for _, name := range names {
		value, err := cap.FromName(strings.ToLower(name))
		if err != nil {
			return nil, fmt.Errorf("capability %s: %w", name, err)
		}
		if has, err := held.GetFlag(cap.Effective, value); err != nil || !has {
			missing = append(missing, name)
		}
	}
	return missing, nil
}
