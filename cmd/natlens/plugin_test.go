package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestAsPlugin(t *testing.T) {
	for program, want := range map[string]bool{
		"docker-natlens": true, "/root/.docker/cli-plugins/docker-natlens": true, "docker-natlens.exe": true,
		"natlens": false, "/usr/bin/natlens": false, "docker": false, "docker-natlens/natlens": false,
	} {
		if got := asPlugin(program); got != want {
			t.Errorf("%s: %v", program, got)
		}
	}
}

func TestPluginArguments(t *testing.T) {
	for typed, want := range map[string]string{
		"":                             "",
		"docker-cli-plugin-metadata":   "docker-cli-plugin-metadata",
		"natlens":                      "",
		"natlens watch icmp":           "watch icmp",
		"natlens explain natlens":      "explain natlens",
		"help natlens":                 "help",
		"help natlens list":            "help list",
		"--help natlens":               "--help",
		"__complete natlens explain b": "__complete explain b",
		"demo":                         "demo",            // how the demo runs itself
		"explain natlens":              "explain natlens", // with sudo, by the plugin's own path
	} {
		got, err := pluginArguments(strings.Fields(typed))
		if err != nil || !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q and error %v, want %q", typed, got, err, want)
		}
	}
	for _, typed := range []string{"--context far natlens list", "-H unix:///x natlens list", "-D natlens"} {
		if got, err := pluginArguments(strings.Fields(typed)); err == nil {
			t.Errorf("%q: %q; docker's flags were passed over", typed, got)
		}
	}
}

// dockerWithPlugin returns what runs the real Docker CLI of someone who installed
// the plugin as the README says, and no engine. It returns both outputs.
func dockerWithPlugin(t *testing.T) func(args ...string) (stdout, stderr string, status int) {
	t.Helper()
	docker, err := exec.LookPath("docker")
	if err != nil {
		t.Skip("needs the Docker CLI (Debian package docker.io)")
	}
	natlens, err := exec.LookPath("natlens") // TestMain put it there
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	folder := filepath.Join(home, ".docker", "cli-plugins")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(natlens, filepath.Join(folder, pluginProgram)); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, string, int) {
		t.Helper()
		var out, words strings.Builder
		cmd := exec.CommandContext(t.Context(), docker, args...)
		cmd.Stdout, cmd.Stderr = &out, &words
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "DOCKER_HOST=unix://" + filepath.Join(home, "no.sock")}
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), words.String(), cmd.ProcessState.ExitCode()
	}
}

func TestDockerRunsThePlugin(t *testing.T) {
	docker := dockerWithPlugin(t)
	for _, c := range []struct {
		typed  string
		status int
		out    string // patterns
		words  string
	}{
		{"--help", 0, `(?m)^ +natlens\*? +Shows what Docker's networking does to a packet$`, `^$`},
		{"natlens version", 0, `^natlens .* go1\.`, `^$`},
		{"natlens help list", 0, `(?m)^  docker natlens list \[links\|containers\|networks\]`, `^$`},
		{"help natlens", 0, `(?m)^More about one: docker natlens help COMMAND$`, `^$`},
		{"natlens list links --all", 0, `(?m)^.*\blo\b +loopback`, ``},
		{"natlens explain veth", 0, `^veth: a virtual cable`, ``},
		{"natlens", 0, `(?m)^  docker natlens demo  `, `^$`},
		{"natlens lst", 2, `^$`, `^natlens: no command "lst"; did you mean list\?\n  see: docker natlens help\n$`},
		{"natlens list nothing", 2, `^$`, `(?m)^  see: docker natlens help list$`},
		{"--log-level info natlens list", 2, `^$`, `name the engine by DOCKER_HOST`},
	} {
		out, words, status := docker(strings.Fields(c.typed)...)
		if status != c.status || !regexp.MustCompile(c.out).MatchString(out) || !regexp.MustCompile(c.words).MatchString(words) {
			t.Errorf("docker %s: status %d, want %d\n%s%s", c.typed, status, c.status, out, words)
		}
	}
}

// TestPluginSaysHowToRunItAsRoot: sudo finds neither the user's plugins nor what
// is in his PATH.
func TestPluginSaysHowToRunItAsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("needs an ordinary user: root has all capabilities")
	}
	_, words, status := dockerWithPlugin(t)("natlens", "watch", "src host 192.0.2.1")
	if status != statusNotPermitted || !regexp.MustCompile(`(?m)^  sudo /.*/natlens watch 'src host 192\.0\.2\.1'$`).MatchString(words) ||
		!strings.Contains(words, "These work without: docker natlens demo") {
		t.Errorf("status %d\n%s", status, words)
	}
}

func TestPluginMetadata(t *testing.T) {
	natlens, err := exec.LookPath("natlens")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), natlens, pluginMetadata)
	cmd.Args[0] = pluginProgram
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got["SchemaVersion"] != "0.1.0" || got["Vendor"] == "" || got["Version"] == "" || got["ShortDescription"] == "" {
		t.Errorf("%s", out)
	}
	// By its own name it knows nothing of that.
	if err := exec.CommandContext(t.Context(), natlens, pluginMetadata).Run(); err == nil {
		t.Error("natlens answers as a plugin by its own name")
	}
}
