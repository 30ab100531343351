package podman

import (
	"encoding/json"
	"strconv"
	"strings"
)

// way is how a container came by its network namespace.
type way struct {
	mode string // "host", "none", "private", or "joined"
	path string // of the namespace; empty where the runtime makes one
	pid  int    // joined: of the process whose namespace it is
}

// parseBundle reads which network namespace a container's config.json asks for
// (OCI runtime specification, config-linux.md); ok is false when it is none.
func parseBundle(text []byte) (w way, ok bool) {
	var config struct {
		Linux *struct {
			Namespaces []struct{ Type, Path string }
		}
	}
	if json.Unmarshal(text, &config) != nil || config.Linux == nil {
		return way{}, false
	}
	for _, n := range config.Linux.Namespaces {
		if n.Type != "network" {
			continue
		}
		if n.Path == "" {
			return way{mode: "none"}, true
		}
		if rest, process := strings.CutPrefix(n.Path, "/proc/"); process {
			digits, _, _ := strings.Cut(rest, "/")
			pid, err := strconv.Atoi(digits)
			return way{mode: "joined", path: n.Path, pid: pid}, err == nil
		}
		return way{mode: "private", path: n.Path}, true
	}
	return way{mode: "host"}, true
}

// parseImages reads the images that containers were made of out of
// containers.json, by container (containers/storage, containers.go).
func parseImages(text []byte) map[string]string {
	var all []struct{ ID, Metadata string }
	if json.Unmarshal(text, &all) != nil {
		return nil
	}
	images := map[string]string{}
	for _, c := range all {
		var m struct {
			Image string `json:"image-name"`
		}
		if json.Unmarshal([]byte(c.Metadata), &m) == nil && m.Image != "" {
			images[c.ID] = m.Image
		}
	}
	return images
}
