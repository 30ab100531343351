package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"natlens/internal/lab"
	"natlens/internal/lab/engine"
)

// TestDockerPlugin: "docker natlens" is natlens, and finds the engine by what the
// Docker CLI finds it by.
func TestDockerPlugin(t *testing.T) {
	e := engine.Shared(t)
	e.Run("--name", "plugged", "box")
	config := t.TempDir()
	folder := filepath.Join(config, "cli-plugins")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(natlens, filepath.Join(folder, "docker-natlens")); err != nil {
		t.Fatal(err)
	}
	docker := func(args ...string) (out, words string, status int) {
		cmd := e.Command("docker", append([]string{"natlens"}, args...)...)
		cmd.Env = append(cmd.Env, "DOCKER_CONFIG="+config)
		return finish(t, cmd)
	}
	out, words, status := docker("list")
	same(t, "status of list", status, 0)
	says(t, "list", out+words, "docker0", "plugged:eth0")
	out, words, status = docker("explain", "plugged")
	same(t, "status of explain", status, 0)
	says(t, "explain", out+words, "plugged: a container of box")

	keepPinging(t, e, "plugged", lab.ServerAddress)
	out, words, status = docker("watch", "-c", "2", "plugged", "and", "icmp")
	same(t, "status of watch", status, 0)
	says(t, "watch", out, "plugged", "MASQUERADE")
	says(t, "account", words, "2 of ")
}
