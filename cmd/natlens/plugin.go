package main

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The Docker CLI runs a program of the name docker-natlens in its folders for
// plugins: once with pluginMetadata, to learn what it is, and for every
// "docker natlens …" with all that was typed behind docker
// (docs.docker.com/engine/extend/cli_plugins, docker/cli: cli-plugins/manager).
const (
	pluginProgram  = "docker-natlens"
	pluginName     = "natlens"
	pluginMetadata = "docker-cli-plugin-metadata"
)

// asPlugin reports whether the program was started by a plugin's name.
func asPlugin(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == pluginProgram
}

// pluginArguments returns the arguments that natlens itself would get. The Docker
// CLI puts the plugin's name before them, but help and completion before that.
// Without the name they are natlens's own: that is how the program runs itself
// and how sudo runs it.
func pluginArguments(args []string) ([]string, error) {
	at := slices.Index(args, pluginName)
	if at < 0 {
		return args, nil
	}
	before := args[:at]
	if len(before) == 1 && slices.Contains([]string{"help", "--help", "-h", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd}, before[0]) {
		return slices.Concat(before, args[at+1:]), nil
	}
	if len(before) > 0 && strings.HasPrefix(before[0], "-") {
		return nil, errors.New("docker's own flags say nothing to natlens: leave them out, and name the engine by DOCKER_HOST")
	}
	if len(before) > 0 {
		return args, nil // a container of that name, say
	}
	return args[1:], nil
}

// becomePlugin makes root what the Docker CLI expects of "docker natlens".
func (a *app) becomePlugin(root *cobra.Command) error {
	args, err := pluginArguments(a.args)
	if err != nil {
		return err
	}
	a.args = args
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "docker " + pluginName}
	root.AddCommand(&cobra.Command{
		Use: pluginMetadata, Hidden: true, Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return writePluginMetadata(a.stdout, root.Short, buildVersion()) },
	})
	return nil
}

// writePluginMetadata says what the plugin is.
func writePluginMetadata(w io.Writer, short, version string) error {
	text, err := json.MarshalIndent(struct{ SchemaVersion, Vendor, Version, ShortDescription string }{
		"0.1.0", "natlens", version, short,
	}, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}
