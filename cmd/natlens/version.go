package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Says which build this is",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			_, err := fmt.Fprintln(a.stdout, versionLine(info))
			return err
		},
	}
}

// buildVersion returns the version this was built as, in a word.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != develVersion {
		return info.Main.Version
	}
	return "development"
}

// develVersion is what the toolchain calls a build that has no version.
const develVersion = "(devel)"

// versionLine puts the build's facts in one line. What the build does not know
// (no tag, no repository) is left out.
func versionLine(info *debug.BuildInfo) string {
	version := info.Main.Version
	if version == "" || version == develVersion {
		version = "development build"
	}
	version = "natlens " + version
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		revision = "revision " + revision[:min(12, len(revision))]
		if settings["vcs.modified"] == "true" {
			revision += ", modified"
		}
		if date, _, ok := strings.Cut(settings["vcs.time"], "T"); ok {
			revision += ", " + date
		}
		version += " (" + revision + ")"
	}
	goVersion := info.GoVersion
	if goVersion == "" {
		goVersion = runtime.Version()
	}
	return version + ", " + goVersion + " " + runtime.GOOS + "/" + runtime.GOARCH
}
