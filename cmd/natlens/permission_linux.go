package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// requireCapabilities returns a *notPermitted unless this process holds all of
// them in its effective set.
func (a *app) requireCapabilities(cmd *cobra.Command, names ...string) error {
	missing, err := missingCapabilities(names)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return nil
	}
	return a.notPermitted(cmd, fmt.Errorf("%s needs %s", cmd.Name(), enumerate(missing)))
}

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
