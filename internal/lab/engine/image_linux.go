package engine

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// importImage makes the image "box": no registry can be reached from here.
func (d *daemon) importImage() error {
	archive, err := box()
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	_, err = d.docker(bytes.NewReader(archive), "import", "--change", `CMD ["sleep", "1000000"]`, "-", "box:latest")
	return err
}

// box is a root file system with busybox, under the names of all its applets,
// and two pages in /www.
func box() ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	files := []struct {
		tar.Header
		content string
	}{
		{tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
		{tar.Header{Name: "bin/busybox", Mode: 0o755}, string(program)},
		{tar.Header{Name: "www/index.html", Mode: 0o644}, "hello from a container\n"},
		{tar.Header{Name: "www/test", Mode: 0o644}, "{\"Test\":\"OK\"}\n"},
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := w.WriteHeader(&f.Header); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return nil, err
		}
	}
	for _, name := range strings.Fields(string(applets)) {
		if name == "busybox" {
			continue
		}
		link := tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}
		if err := w.WriteHeader(&link); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
